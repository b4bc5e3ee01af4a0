"""HTTP in, HTTP out: routes, error answers, and one log line per call."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from patient_api.api.answer import Answer
from patient_api.api.negotiation import check_accept
from patient_api.api.routes import Match, find
from patient_api.errors import ApiError, ClockAhead, StorageFault
from patient_api.exchange.request import Request
from patient_api.journal import Journal

UNMATCHED: Final = "unmatched"
RETRY_SECONDS: Final = "2"

Responder = Callable[..., Answer]


class Api:
    """The function's whole surface: `responders` answers each operation of the table of routes."""

    def __init__(self, *, responders: Mapping[str, Responder], journal: Journal) -> None:
        self._responders = responders
        self._journal = journal

    def __call__(self, event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG002 - Lambda's signature
        """Answer one event of payload format 2.0."""
        started = time.perf_counter()
        request = Request.of(event)
        route = UNMATCHED
        try:
            match = find(request.method, request.path)
            route = match.route.path
            answer = self._answer(request, match)
        except ApiError as error:
            answer = Answer.refusal(error)
        except Exception as error:  # noqa: BLE001 - the last resort: a defect must not show its message to anybody
            self._journal.unexpected(error, request_id=request.request_id)
            answer = Answer.outcome(500, "exception", "The server failed.")
        self._journal.info(
            "call",
            method=request.method,
            # The pattern: what stands in the place of its parameters may be anything a client types.
            route=route,
            status=int(answer.status),
            ms=round((time.perf_counter() - started) * 1000, 1),
            request_id=request.request_id,
            tenant=request.caller.tenant,
        )
        return answer.event()

    def _answer(self, request: Request, match: Match) -> Answer:
        try:
            if match.route.path.startswith("/fhir/"):
                check_accept(request)
            return self._responders[match.route.operation](request, **match.parameters)
        except StorageFault as fault:
            self._journal.error(
                "storage fault", operation=fault.operation, code=fault.code, request_id=request.request_id
            )
            self._journal.count({"KeyFailures" if fault.of_key else "StorageFailures": 1})
            reason = "throttled" if fault.throttled else "transient"
            return _unavailable(reason, "The store did not answer; nothing is lost that was confirmed.")
        except ClockAhead as error:
            self._journal.error("clock ahead", ahead_ms=error.ahead_ms, request_id=request.request_id)
            return _unavailable("transient", "The clocks of this record's writers differ too much.")


def _unavailable(issue: str, diagnostics: str) -> Answer:
    return Answer.outcome(503, issue, diagnostics, headers={"Retry-After": RETRY_SECONDS})

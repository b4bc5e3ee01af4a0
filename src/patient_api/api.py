"""HTTP in, HTTP out: routes, error answers, and one log line per call."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.utilities.typing import LambdaContext

from patient_api.answer import Answer
from patient_api.drain import Drain
from patient_api.errors import ApiError, ClockAhead, NotAllowed, NotFound, StorageFault
from patient_api.health import Health
from patient_api.journal import Journal
from patient_api.patients import Patients
from patient_api.request import Request

UNMATCHED: Final = "unmatched"
RETRY_SECONDS: Final = "2"

Responder = Callable[..., Answer]


@dataclass
class _Call:
    request: Request
    route: str = UNMATCHED


class Api:
    """The function's whole surface. A container serves one call at a time."""

    def __init__(self, *, patients: Patients, health: Health, drain: Drain, journal: Journal) -> None:
        self._patients = patients
        self._health = health
        self._drain = drain
        self._journal = journal
        self._methods: dict[re.Pattern[str], set[str]] = {}
        # Debug mode would print events, bodies included, whatever the environment says.
        self._resolver = APIGatewayHttpResolver(debug=False)
        self._route("GET", "/health", self._get_health)
        self._route("GET", "/drain/<region>", self._get_drain)
        self._route("POST", "/fhir/Patient", self._create)
        self._route("GET", "/fhir/Patient/<id>", self._read)
        self._route("PUT", "/fhir/Patient/<id>", self._update)
        self._resolver.not_found(self._unknown)
        self._resolver.exception_handler(ApiError)(self._refused)
        self._resolver.exception_handler(StorageFault)(self._storage_fault)
        self._resolver.exception_handler(ClockAhead)(self._clock_ahead)
        self._resolver.exception_handler(Exception)(self._unexpected)

    def __call__(self, event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer one event of payload format 2.0."""
        started = time.perf_counter()
        call = _Call(Request.of(event))
        self._resolver.context["call"] = call
        answer = self._resolver.resolve(event, context)
        self._journal.call(
            call.request,
            route=call.route,
            status=answer["statusCode"],
            milliseconds=(time.perf_counter() - started) * 1000,
        )
        return answer

    def _route(self, method: str, pattern: str, respond: Responder) -> None:
        shown = pattern.replace("<", "{").replace(">", "}")

        def run(**parameters: str) -> Response[str]:
            self._call.route = shown
            return _response(respond(self._request, **parameters))

        self._resolver.route(pattern, method=method)(run)
        path = re.compile(re.sub("<[a-z]+>", "[^/]+", pattern))
        self._methods.setdefault(path, set()).add(method)

    @property
    def _call(self) -> _Call:
        call: _Call = self._resolver.context["call"]
        return call

    @property
    def _request(self) -> Request:
        return self._call.request

    def _get_health(self, _: Request) -> Answer:
        if self._health.healthy():
            return Answer.plain(200, {"status": "healthy"})
        return Answer.plain(503, {"status": "unhealthy"})

    def _get_drain(self, _: Request, *, region: str) -> Answer:
        drained = self._drain.drained(region)
        return Answer.plain(200 if drained else 404, {"drained": drained})

    def _create(self, request: Request) -> Answer:
        return Answer.version(self._patients.create(request), status=201)

    def _read(self, request: Request, *, id: str) -> Answer:  # noqa: A002 - the route's parameter
        return Answer.version(self._patients.read(request, id))

    def _update(self, request: Request, *, id: str) -> Answer:  # noqa: A002 - the route's parameter
        return Answer.version(self._patients.update(request, id))

    def _unknown(self, _: NotFoundError) -> Response[str]:
        request = self._request
        allowed = {m for path, methods in self._methods.items() if path.fullmatch(request.path) for m in methods}
        if not allowed or request.method in allowed:
            return self._refused(NotFound("There is no such route."))
        allow = ", ".join(sorted(allowed))
        return self._refused(NotAllowed(f"This route knows {allow}.", headers={"Allow": allow}))

    def _refused(self, error: ApiError) -> Response[str]:
        return _response(Answer.refusal(error))

    def _storage_fault(self, fault: StorageFault) -> Response[str]:
        self._journal.storage_fault(self._request, fault)
        reason = "throttled" if fault.throttled else "transient"
        return _unavailable(reason, "The store did not answer; nothing is lost that was confirmed.")

    def _clock_ahead(self, error: ClockAhead) -> Response[str]:
        self._journal.clock_ahead(self._request, error)
        return _unavailable("transient", "The clocks of this record's writers differ too much.")

    def _unexpected(self, error: Exception) -> Response[str]:
        self._journal.unexpected(self._request, error)
        return _response(Answer.outcome(500, "exception", "The server failed."))


def _unavailable(issue: str, diagnostics: str) -> Response[str]:
    return _response(Answer.outcome(503, issue, diagnostics, headers={"Retry-After": RETRY_SECONDS}))


def _response(answer: Answer) -> Response[str]:
    headers: dict[str, str | list[str]] = {"Cache-Control": "no-store", **answer.headers}
    return Response(answer.status, content_type=answer.content_type, body=answer.body, headers=headers)

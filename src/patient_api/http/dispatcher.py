"""Dispatch requests to operations, convert errors into responses, and write one log line per request."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from patient_api.contract.headers import ACCEPT_PATCH, ALLOW, FHIR_JSON, RETRY_AFTER
from patient_api.contract.metrics import Metric
from patient_api.contract.routes import PATCH_BODY, Match, Route, allowed, find
from patient_api.errors import ApiError, NotAllowed, NotFound, StorageFault, UnsupportedMedia, WrongClock
from patient_api.http.caller import TENANT_CLAIM
from patient_api.http.criteria import check_parameters, checked
from patient_api.http.negotiation import check_preferences, indented, media_type
from patient_api.http.preconditions import check_headers
from patient_api.http.request import Request
from patient_api.http.response import Response
from patient_api.logging import StructuredLog

UNMATCHED: Final = "unmatched"
RETRY_SECONDS: Final = "2"

_ACCEPT_PATCH: Final = {ACCEPT_PATCH: ", ".join(PATCH_BODY)}

Responder = Callable[..., Response]


class Dispatcher:
    """Processes the requests of API Gateway.

    `responders` has a responder for each operation of the contract. `tenant_claim` is the claim of a token that names
    the caller's tenant.
    """

    def __init__(
        self, *, responders: Mapping[str, Responder], log: StructuredLog, tenant_claim: str = TENANT_CLAIM
    ) -> None:
        self._responders = responders
        self._log = log
        self._tenant_claim = tenant_claim

    def __call__(self, event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG002 - Lambda's signature
        """Return the response to one event of payload format 2.0."""
        started = time.perf_counter()
        request = Request.of(event, tenant_claim=self._tenant_claim)
        route, written, indent = UNMATCHED, FHIR_JSON, False
        try:
            if request.method == "OPTIONS" and allowed(request.path, request.stage):
                response = Response(204, "", headers=_methods(request))
            else:
                match = _match(request)
                route = match.route.path
                # A client without the right is refused and audited by the responder, even if the request is malformed.
                if match.route.fhir and _is_granted(request, match):
                    written, indent = media_type(request), indented(request)
                    _check_parts(request, match.route)
                elif not (match.route.fhir or match.route.probed):
                    # A health check that is refused would take its region out of service, so it may contain anything.
                    check_headers(request, takes=match.route.headers)
                    checked(request.parameters_of_query(), takes=match.route.parameters)
                response = self._respond(request, match)
        except ApiError as error:
            response = Response.refusal(error).with_headers(_alternatives(request, error))
        except Exception as error:  # noqa: BLE001 - the message of a defect may contain patient data
            self._log.unexpected(error, request_id=request.request_id)
            response = Response.outcome(500, "exception", "The server failed.")
        self._log.info(
            "call",
            method=request.method,
            # The pattern: the path itself may contain any text that a client sends.
            route=route,
            status=int(response.status),
            ms=round((time.perf_counter() - started) * 1000, 1),
            request_id=request.request_id,
            tenant=request.caller.tenant,
        )
        return response.event(fhir=written, headers_only=request.method == "HEAD", indent=indent)

    def _respond(self, request: Request, match: Match) -> Response:
        try:
            return self._responders[match.route.operation](request, **match.parameters)
        except StorageFault as fault:
            self._log.error("storage fault", operation=fault.operation, code=fault.code, request_id=request.request_id)
            self._log.count({Metric.KEY_FAILURES if fault.of_key else Metric.STORAGE_FAILURES: 1})
            reason = "throttled" if fault.throttled else "transient"
            return _unavailable(reason, "The data store is unavailable. Confirmed writes are not lost.")
        except WrongClock as error:
            self._log.error("wrong clock", ahead_ms=error.ahead_ms, request_id=request.request_id)
            self._log.count({Metric.WRONG_CLOCK: 1}, ahead_ms=error.ahead_ms)
            return _unavailable("transient", "The clock of this server is wrong, so it has written nothing: try again.")


def _check_parts(request: Request, route: Route) -> None:
    """Check that the route takes what the request contains. Raises Malformed, NotAcceptable."""
    check_headers(request, takes=route.headers)
    check_preferences(request, honoured=route.preferences)
    # Searches and conditional requests check their own parameters, which include search criteria.
    if not (route.searches or route.conditional):
        check_parameters(request, takes=route.parameters)


def _is_granted(request: Request, match: Match) -> bool:
    right, type = match.route.right, match.route.type
    return right is None or type is None or request.caller.may(right, type)


def _match(request: Request) -> Match:
    """Return the route of a request. Raises NotFound, and NotAllowed when the path has other methods."""
    match = find(request.method, request.path, request.stage)
    if match is not None:
        return match
    methods = allowed(request.path, request.stage)
    if not methods:
        raise NotFound("There is no such route.")
    raise NotAllowed(f"This route supports {', '.join(methods)}.")


def _alternatives(request: Request, error: ApiError) -> Mapping[str, str]:
    """Return the headers that name the alternatives: other methods (RFC 9110, section 15.5.6) or other media types."""
    if isinstance(error, NotAllowed):
        return _methods(request, without=request.method)
    if isinstance(error, UnsupportedMedia) and request.method == "PATCH":
        return _ACCEPT_PATCH
    return {}


def _methods(request: Request, *, without: str | None = None) -> Mapping[str, str]:
    """Return the headers that name the methods and patch formats of a path (RFC 5789, section 3.1)."""
    methods = allowed(request.path, request.stage)
    headers = {ALLOW: ", ".join(method for method in methods if method != without)}
    return headers | _ACCEPT_PATCH if "PATCH" in methods else headers


def _unavailable(issue: str, diagnostics: str) -> Response:
    return Response.outcome(503, issue, diagnostics, headers={RETRY_AFTER: RETRY_SECONDS})

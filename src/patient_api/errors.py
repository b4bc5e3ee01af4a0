"""The exceptions of the API.

ApiError               an error with an HTTP status; its text never repeats what the client sent, except for
│                      the URL of a modifier extension
├── Malformed 400          ├── NotAcceptable 406     ├── TooLarge 413
├── Unauthenticated 401    ├── Conflict 409          ├── UnsupportedMedia 415
├── Forbidden 403          ├── Gone 410              ├── Unprocessable 422
├── NotFound 404           ├── Stale 412             ├── PreconditionRequired 428
├── NotAllowed 405         ├── TooCostly 400         ├── NotYetHere 503
│                                                    └── IssuerUnavailable 503
StorageFault           a call of AWS failed: 503
HeadMismatch           the head is not the one that the write expects
Contention             a concurrent write of the same record is in progress
ClockAhead             a clock is too far ahead of this one: 503
"""

# ruff: noqa: N818 - errors have the names that HTTP and FHIR use

from collections.abc import Mapping


class ApiError(Exception):
    """An error response: `status` is the HTTP status, `issue` a code of FHIR's IssueType (http://hl7.org/fhir/R4/valueset-issue-type.html).

    `expression` is the FHIRPath of the element at fault, where there is one.
    """

    status: int
    issue: str

    def __init__(
        self, diagnostics: str, *, headers: Mapping[str, str] | None = None, expression: str | None = None
    ) -> None:
        super().__init__(diagnostics)
        self.diagnostics = diagnostics
        self.headers = dict(headers or {})
        self.expression = expression


class Malformed(ApiError):
    """The request cannot be understood."""

    status, issue = 400, "structure"


class Unauthenticated(ApiError):
    """The request carries no valid identity."""

    status, issue = 401, "login"


class Forbidden(ApiError):
    """The caller has no right to do this."""

    status, issue = 403, "forbidden"


class NotFound(ApiError):
    """There is no such route or record."""

    status, issue = 404, "not-found"


class TooCostly(ApiError):
    """The search would read too many items."""

    status, issue = 400, "too-costly"


class NotAcceptable(ApiError):
    """The client accepts no media type that the API produces."""

    status, issue = 406, "not-supported"


class NotAllowed(ApiError):
    """The route does not support the method."""

    status, issue = 405, "not-supported"


class Conflict(ApiError):
    """A concurrent write of the same record prevented this one."""

    status, issue = 409, "conflict"


class Gone(ApiError):
    """The record was deleted; its versions are still in its history."""

    status, issue = 410, "deleted"


class Stale(ApiError):
    """The record is at a newer version than the precondition names."""

    status, issue = 412, "conflict"


class TooLarge(ApiError):
    """The body exceeds what one version may hold."""

    status, issue = 413, "too-long"


class UnsupportedMedia(ApiError):
    """The body is of a media type the API does not read."""

    status, issue = 415, "not-supported"


class Unprocessable(ApiError):
    """The body is JSON, but not a valid resource for this route."""

    status, issue = 422, "invalid"


class PreconditionRequired(ApiError):
    """An update must name the version that it replaces."""

    status, issue = 428, "required"


class NotYetHere(ApiError):
    """Replication has not delivered the version in Minimum-Version to this region yet."""

    status, issue = 503, "transient"


class IssuerUnavailable(ApiError):
    """The issuer's discovery document cannot be read."""

    status, issue = 503, "transient"


class StorageFault(Exception):
    """AWS failed: `operation` is the call, `code` its error code or the exception's type; neither holds data."""

    def __init__(self, *, operation: str, code: str, throttled: bool = False, of_key: bool = False) -> None:
        super().__init__(f"{operation}: {code}")
        self.operation = operation
        self.code = code
        self.throttled = throttled
        self.of_key = of_key


class HeadMismatch(Exception):
    """The head item is missing, present, or of another version than the write demanded."""


class Contention(Exception):
    """DynamoDB refused the transaction because of another one on the same items, more than once."""


class ClockAhead(Exception):
    """A clock is further ahead than the drift allowed between regions."""

    def __init__(self, *, ahead_ms: int, allowed_ms: int) -> None:
        super().__init__(f"{ahead_ms} ms ahead, {allowed_ms} ms allowed")
        self.ahead_ms = ahead_ms

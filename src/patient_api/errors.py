"""The exceptions of the API.

ApiError               an error with an HTTP status; its text never repeats what the client sent, except for
│                      the URL of a modifier extension
├── Malformed 400          ├── NotAcceptable 406     ├── TooLarge 413
├── Unauthenticated 401    ├── Conflict 409          ├── UnsupportedMedia 415
├── Forbidden 403          ├── Gone 410              ├── Unprocessable 422
├── NotFound 404           ├── Stale 412             ├── PreconditionRequired 428
├── NotAllowed 405         ├── TooCostly 400         ├── NotYetHere 503
│                                                    └── IssuerUnavailable 503
StorageFault           a call to AWS failed: 503
HeadMismatch           the head is not the one that the write expects
Contention             a concurrent write of the same record is in progress
WrongClock             this process's clock differs from DynamoDB's: 503
"""

# ruff: noqa: N818 - errors have the names that HTTP and FHIR use

from collections.abc import Mapping


class ApiError(Exception):
    """An error response: `status` is the HTTP status, `issue` a code of FHIR's IssueType (http://hl7.org/fhir/R4/valueset-issue-type.html).

    `expression` is the FHIRPath of the element at fault, where there is one. `audited` is whether the refusal is in the
    audit trail.
    """

    status: int
    issue: str

    def __init_subclass__(cls, *, status: int, issue: str) -> None:
        cls.status, cls.issue = status, issue

    def __init__(
        self, diagnostics: str, *, headers: Mapping[str, str] | None = None, expression: str | None = None
    ) -> None:
        super().__init__(diagnostics)
        self.diagnostics = diagnostics
        self.headers = dict(headers or {})
        self.expression = expression
        self.audited = False


class Malformed(ApiError, status=400, issue="structure"):
    """The request cannot be understood."""


class Unauthenticated(ApiError, status=401, issue="login"):
    """The request carries no valid identity."""


class Forbidden(ApiError, status=403, issue="forbidden"):
    """The caller has no right to do this."""


class NotFound(ApiError, status=404, issue="not-found"):
    """There is no such route or record."""


class TooCostly(ApiError, status=400, issue="too-costly"):
    """The search would read too many items."""


class NotAcceptable(ApiError, status=406, issue="not-supported"):
    """The client accepts no media type that the API produces."""


class NotAllowed(ApiError, status=405, issue="not-supported"):
    """The route does not support the method."""


class Conflict(ApiError, status=409, issue="conflict"):
    """A concurrent write of the same record prevented this one."""


class Gone(ApiError, status=410, issue="deleted"):
    """The record was deleted; its versions are still in its history."""


class Stale(ApiError, status=412, issue="conflict"):
    """The record is at a newer version than the precondition names."""


class TooLarge(ApiError, status=413, issue="too-long"):
    """The body exceeds what one version may hold."""


class UnsupportedMedia(ApiError, status=415, issue="not-supported"):
    """The body is of a media type the API does not read."""


class Unprocessable(ApiError, status=422, issue="invalid"):
    """The body is JSON, but not a valid resource for this route."""


class PreconditionRequired(ApiError, status=428, issue="required"):
    """An update must name the version that it replaces."""


class NotYetHere(ApiError, status=503, issue="transient"):
    """Replication has not delivered a version that the request names to this region yet."""


class IssuerUnavailable(ApiError, status=503, issue="transient"):
    """The issuer's discovery document cannot be read."""


class StorageFault(Exception):
    """AWS failed: `operation` is the call, `code` its error code or the exception's type; neither holds data.

    `unreachable` is whether the service did not respond, or responded with a 5xx status. `region` is the one of the
    bucket, for faults of buckets.
    """

    def __init__(
        self, *, operation: str, code: str, throttled: bool = False, of_key: bool = False, unreachable: bool = False
    ) -> None:
        super().__init__(f"{operation}: {code}")
        self.operation = operation
        self.code = code
        self.throttled = throttled
        self.of_key = of_key
        self.unreachable = unreachable
        self.region: str | None = None


class HeadMismatch(Exception):
    """The head item is missing, present, or of another version than the write demanded."""


class Contention(Exception):
    """DynamoDB refused the transaction because of another one on the same items, more than once."""


class WrongClock(Exception):
    """The clock of this process differs from DynamoDB's by more than the bound, so it issues no version.

    `ahead_ms` is the least possible difference in milliseconds, negative for a clock that is behind; None when it could
    not be measured.
    """

    def __init__(self, *, ahead_ms: int | None) -> None:
        super().__init__("not measured" if ahead_ms is None else f"{ahead_ms} ms ahead")
        self.ahead_ms = ahead_ms

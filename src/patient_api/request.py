"""One call, as API Gateway's payload format 2.0 hands it over."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from patient_api.access import Caller, identify
from patient_api.errors import Malformed, TooLarge, UnsupportedMedia

# A version and its head each hold the whole resource beside keys and `meta` of under 2 KiB, DynamoDB takes 400 KB
# per item and 4 MB per transaction, and compacting never makes a body longer.
MAX_BODY: Final = 256 * 1024

_MEDIA_TYPES: Final = frozenset({"application/fhir+json", "application/json"})


@dataclass(frozen=True)
class Request:
    """What the logic may know of a call. Header names are in lower case."""

    method: str
    path: str
    caller: Caller
    source_ip: str
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    encoded: bool = False

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Self:
        """Raises KeyError for an event that is not of payload format 2.0."""
        context = event["requestContext"]
        return cls(
            method=context["http"]["method"].upper(),
            path=event["rawPath"],
            caller=identify(context.get("authorizer") or {}),
            source_ip=context["http"].get("sourceIp", ""),
            request_id=context.get("requestId", ""),
            headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
            body=event.get("body") or "",
            encoded=bool(event.get("isBase64Encoded")),
        )

    def payload(self) -> bytes:
        """The body's bytes. Raises UnsupportedMedia, TooLarge, Malformed."""
        media_type, _, parameters = self.headers.get("content-type", "").partition(";")
        if media_type.strip().lower() not in _MEDIA_TYPES:
            raise UnsupportedMedia("The body must be application/fhir+json or application/json.")
        if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
            raise UnsupportedMedia("The body must be in UTF-8.")
        if len(self.body) > (MAX_BODY * 4 // 3 + 4 if self.encoded else MAX_BODY):
            raise TooLarge(f"The body exceeds {MAX_BODY} bytes.")
        data = self._bytes()
        if len(data) > MAX_BODY:
            raise TooLarge(f"The body exceeds {MAX_BODY} bytes.")
        return data

    def _bytes(self) -> bytes:
        try:
            return base64.b64decode(self.body, validate=True) if self.encoded else self.body.encode("utf-8")
        except (binascii.Error, UnicodeEncodeError):
            raise Malformed("The body is not UTF-8.") from None

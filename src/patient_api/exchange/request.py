"""One call, as API Gateway's payload format 2.0 hands it over."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qsl

from patient_api.errors import Malformed, TooLarge, UnsupportedMedia
from patient_api.exchange.access import Caller, identify

# A version and its head each hold the whole resource beside keys and `meta` of under 2 KiB, DynamoDB takes 400 KB
# per item and 4 MB per transaction, and compacting never makes a body longer.
MAX_BODY: Final = 256 * 1024

FORM: Final = "application/x-www-form-urlencoded"
LARGEST_QUERY: Final = 100  # parameters


@dataclass(frozen=True)
class Request:
    """What the logic may know of a call. Header names are in lower case."""

    method: str
    path: str
    caller: Caller
    source_ip: str
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    raw_query: str = ""
    host: str = ""
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
            raw_query=event.get("rawQueryString") or "",
            host=context.get("domainName") or "",
            body=event.get("body") or "",
            encoded=bool(event.get("isBase64Encoded")),
        )

    @property
    def base(self) -> str:
        """The FHIR base as the caller addressed it."""
        return f"https://{self.host}/fhir"

    def parameters_of_query(self) -> list[tuple[str, str]]:
        """The query's parameters as they came. Raises Malformed."""
        return _pairs(self.raw_query)

    def parameters(self) -> list[tuple[str, str]]:
        """The query's parameters as they came, then those of a form in the body. Raises as `payload` does."""
        found = self.parameters_of_query()
        if self.body and self.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM:
            found += _pairs(self.payload(frozenset({FORM})).decode("utf-8", errors="surrogateescape"))
        return found

    def payload(self, media_types: frozenset[str]) -> bytes:
        """The body's bytes, if it is of one of these types. Raises UnsupportedMedia, TooLarge, Malformed."""
        media_type, _, parameters = self.headers.get("content-type", "").partition(";")
        if media_type.strip().lower() not in media_types:
            raise UnsupportedMedia(f"The body must be {' or '.join(sorted(media_types))}.")
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


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=LARGEST_QUERY)
    except ValueError:
        raise Malformed(f"The query is not UTF-8, or has more than {LARGEST_QUERY} parameters.") from None

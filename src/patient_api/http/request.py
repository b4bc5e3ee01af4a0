"""Parse requests in API Gateway's payload format 2.0."""

import base64
import binascii
import codecs
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self
from urllib.parse import parse_qsl

from patient_api.contract.headers import CONTENT_ENCODING, CONTENT_TYPE, FORM
from patient_api.contract.routes import CLIENT_STAGE
from patient_api.errors import Malformed, TooLarge, UnsupportedMedia
from patient_api.http.caller import TENANT_CLAIM, Caller, identify

# `4.0` is R4's value of fhirVersion (https://hl7.org/fhir/R4/http.html#version-parameter). Some clients send `4.0.1`.
_READ: Final[Mapping[str, re.Pattern[str]]] = {
    "fhirversion": re.compile(r"4\.0(\.[0-9]+)?"),
    "charset": re.compile("utf-?8", re.IGNORECASE),
}


def elements(value: str) -> list[str]:
    """Return the elements of a comma-separated list; empty elements are ignored (RFC 9110, section 5.6.1)."""
    return [element.strip() for element in _split(value, ",") if element.strip()]


def parameters(element: str) -> list[tuple[str, str]]:
    """Return `return=minimal; wait="10"` as pairs: names in lower case, values without their quotes.

    A name without a value, such as the media type in a Content-Type, has an empty value.
    """
    found = []
    for part in _split(element, ";"):
        name, _, value = part.partition("=")
        found.append((name.strip().lower(), _unquoted(value.strip())))
    return found


def is_fhir_r4(given: Iterable[tuple[str, str]]) -> bool:
    """Return whether a media type's parameters select a form that this server reads and writes: R4 in UTF-8.

    When a parameter is repeated, each of its values must be one of these.
    """
    return all(_READ[name].fullmatch(value) is not None for name, value in given if name in _READ)


def _split(text: str, separator: str) -> list[str]:
    """Split at the separators that are outside of quoted strings."""
    parts, quoted, escaped = [""], False, False
    for character in text:
        if character == separator and not quoted:
            parts.append("")
            continue
        if character == '"' and not escaped:
            quoted = not quoted
        escaped = quoted and character == "\\" and not escaped
        parts[-1] += character
    return parts


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    characters = iter(value[1:-1])
    return "".join(next(characters, "") if character == "\\" else character for character in characters)


# A version and its head each hold the whole resource beside keys and `meta` of under 2 KiB, DynamoDB takes 400 KB
# per item and 4 MB per transaction, and compacting never makes a body longer.
MAX_BODY: Final = 256 * 1024

LARGEST_QUERY: Final = 100  # parameters
LARGEST_STREAM: Final = 64  # members of one gzip stream

_GZIP: Final = frozenset({"gzip", "x-gzip"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Request:
    """A request, independent of API Gateway's format. Header names are in lower case; `path` is without the stage.

    `received` is when the gateway received it, by the gateway's clock, which the clock of a function cannot falsify.
    """

    method: str
    path: str
    caller: Caller
    source_ip: str
    request_id: str
    received: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    raw_query: str = ""
    host: str = ""
    stage: str = CLIENT_STAGE
    body: str = ""
    encoded: bool = False

    @classmethod
    def of(cls, event: Mapping[str, Any], *, tenant_claim: str = TENANT_CLAIM) -> Self:
        """Return the request of an event. Raises KeyError for an event of another format."""
        context = event["requestContext"]
        stage, path = context.get("stage", CLIENT_STAGE), event["rawPath"]
        return cls(
            method=context["http"]["method"].upper(),
            path=path if stage == CLIENT_STAGE else path.removeprefix(f"/{stage}"),
            caller=identify(context.get("authorizer") or {}, tenant_claim=tenant_claim),
            source_ip=context["http"].get("sourceIp", ""),
            request_id=context.get("requestId", ""),
            received=_EPOCH + timedelta(milliseconds=context["timeEpoch"]),
            headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
            raw_query=event.get("rawQueryString") or "",
            host=context.get("domainName") or "",
            stage=stage,
            body=event.get("body") or "",
            encoded=bool(event.get("isBase64Encoded")),
        )

    @property
    def base(self) -> str:
        """The FHIR base URL that the client used."""
        return f"https://{self.host}/fhir"

    @property
    def media_type(self) -> str:
        """The body's media type, without its parameters; empty without a Content-Type."""
        return parameters(self.header(CONTENT_TYPE) or "")[0][0]

    def header(self, name: str) -> str | None:
        """Return the value of a header, None without it."""
        return self.headers.get(name.lower())

    def parameters_of_query(self) -> list[tuple[str, str]]:
        """Return the parameters of the query, in order. Raises Malformed."""
        return _pairs(self.raw_query)

    def parameters(self) -> list[tuple[str, str]]:
        """Return the parameters of the query; for a POST, also those of the form in its body.

        Raises as `payload` does, and Malformed for the body of a GET and for an empty form.
        """
        found = self.parameters_of_query()
        self.check_no_body_of_get()
        if self.method == "POST":
            found += _pairs(self._form())
            if not found:
                raise Malformed("The form is empty: to list everything, use GET.")
        return found

    def check_no_body_of_get(self) -> None:
        """Raise Malformed for a GET or HEAD with a body."""
        if self.method in {"GET", "HEAD"} and self.body:
            raise Malformed("A GET must not have a body: send criteria in the URL, or as a form by POST.")

    def _form(self) -> str:
        try:
            return self.payload(frozenset({FORM})).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("The form is not UTF-8.") from None

    def payload(self, media_types: Collection[str]) -> bytes:
        """Return the decoded body if it has one of these types. Raises UnsupportedMedia, TooLarge, Malformed."""
        if self.media_type not in media_types:
            raise UnsupportedMedia(f"The body must be {' or '.join(sorted(media_types))}.")
        if not is_fhir_r4(parameters(self.header(CONTENT_TYPE) or "")[1:]):
            raise UnsupportedMedia("The body must be FHIR R4 (fhirVersion 4.0) in UTF-8.")
        if len(self.body) > (MAX_BODY * 4 // 3 + 4 if self.encoded else MAX_BODY):
            raise _too_large()
        data = self._decoded(self._bytes())
        if len(data) > MAX_BODY:
            raise _too_large()
        return data.removeprefix(codecs.BOM_UTF8)

    def _decoded(self, data: bytes) -> bytes:
        codings = [coding.lower() for coding in elements(self.header(CONTENT_ENCODING) or "")]
        applied = [coding for coding in codings if coding != "identity"]
        if not applied:
            return data
        if len(applied) > 1 or applied[0] not in _GZIP:
            # Accept-Encoding lists the codings that are read (RFC 9110, section 15.5.16).
            raise UnsupportedMedia(f"{CONTENT_ENCODING} must be gzip, or none.", headers={"Accept-Encoding": "gzip"})
        return _unzipped(data)

    def _bytes(self) -> bytes:
        try:
            return base64.b64decode(self.body, validate=True) if self.encoded else self.body.encode("utf-8")
        except (binascii.Error, UnicodeEncodeError):
            raise Malformed("The body is not UTF-8.") from None


def _unzipped(data: bytes) -> bytes:
    """Return the content of a gzip stream, at most one byte more than MAX_BODY. Raises Malformed."""
    found = b""
    for _ in range(LARGEST_STREAM):
        # 16 selects the gzip format.
        stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            found += stream.decompress(data, MAX_BODY + 1 - len(found))
        except zlib.error:
            break
        if len(found) > MAX_BODY:
            return found
        if not stream.eof:
            break
        data = stream.unused_data
        if not data:
            return found
    raise Malformed("The body is not encoded as its Content-Encoding: gzip.")


def _too_large() -> TooLarge:
    return TooLarge(f"The body exceeds {MAX_BODY} bytes.")


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=LARGEST_QUERY)
    except ValueError:
        raise Malformed(f"The query is not UTF-8, or has more than {LARGEST_QUERY} parameters.") from None

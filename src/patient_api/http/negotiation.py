"""Negotiate the media type of responses and the client's preferences (RFC 9110, RFC 7240, FHIR R4's HTTP page)."""

import contextlib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from patient_api.contract.headers import ACCEPT, FHIR_JSON, FORM, JSON, PREFER
from patient_api.errors import ApiError, Malformed, NotAcceptable
from patient_api.http.request import Request, elements, is_fhir_r4, parameters

# Names of the same representation (https://hl7.org/fhir/R4/http.html#mime-type), the preferred one first.
WRITTEN: Final = (FHIR_JSON, JSON)

_FORMATS: Final[Mapping[str, str]] = {"json": FHIR_JSON, FHIR_JSON: FHIR_JSON, JSON: JSON, "text/json": JSON}
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_REFUSAL: Final = f"This server writes {FHIR_JSON}."
_PREFERENCES: Final = frozenset({"return", "handling"})


def media_type(request: Request) -> str:
    """Return the media type of the response: `_format`, or else the best one of Accept. Raises NotAcceptable."""
    requested = format_in(_parameters(request))
    if requested is not None:
        return requested
    ranges = [parameters(element) for element in elements(request.header(ACCEPT) or "")]
    if not ranges:
        return FHIR_JSON
    qualities = {written: _quality(written, ranges) for written in WRITTEN}
    best = max(WRITTEN, key=lambda written: qualities[written])
    if not qualities[best]:
        raise NotAcceptable(_REFUSAL)
    return best


def indented(request: Request) -> bool:
    """Return whether `_pretty` requests a response with line breaks."""
    return any(name == "_pretty" and value == "true" for name, value in _parameters(request))


def _parameters(request: Request) -> Iterable[tuple[str, str]]:
    if request.method == "POST" and request.media_type == FORM:
        # The search itself reports an invalid form.
        with contextlib.suppress(ApiError):
            return request.parameters()
    return request.parameters_of_query()


def format_in(pairs: Iterable[tuple[str, str]]) -> str | None:
    """Return the media type in `_format`, None without one. Raises NotAcceptable."""
    found = None
    for name, value in pairs:
        if name == "_format":
            # In a URL, an unescaped plus sign is a space. Media types have no case.
            found = _FORMATS.get(value.partition(";")[0].strip().replace(" ", "+").lower())
            if found is None or not is_fhir_r4(parameters(value)[1:]):
                raise NotAcceptable(_REFUSAL)
    return found


def preferences(request: Request) -> Mapping[str, str]:
    """Return the client's preferences by name. The first value of a repeated preference applies (RFC 7240)."""
    found: dict[str, str] = {}
    for element in elements(request.header(PREFER) or ""):
        name, value = parameters(element)[0]
        found.setdefault(name, value.lower())
    return found


def check_preferences(request: Request, *, honoured: Collection[str]) -> None:
    """Raise Malformed for a preference that this server knows and the route of the request does not honour.

    A preference that it does not know is ignored (RFC 7240, section 2).
    """
    for name, value in preferences(request).items():
        if name in _PREFERENCES and f"{name}={value}" not in honoured:
            raise Malformed(f"{PREFER} must be {' or '.join(honoured)} for {request.method} on this path, or left out.")


def lenient(request: Request) -> bool:
    """Return whether a search may drop unknown parameters, by the preference `handling=lenient`."""
    return preferences(request).get("handling") == "lenient"


def _quality(written: str, ranges: list[list[tuple[str, str]]]) -> float:
    """Return the weight of the most specific media range that covers the type, 0 for none."""
    kind = written.partition("/")[0]
    for covering in (written, f"{kind}/*", "*/*"):
        weights = [_weight(dict(rest)) for (covered, _), *rest in ranges if covered == covering and is_fhir_r4(rest)]
        if weights:
            return max(weights)
    return 0


def _weight(given: Mapping[str, str]) -> float:
    weight = given.get("q", "")
    return float(weight) if _WEIGHT.fullmatch(weight) else 1

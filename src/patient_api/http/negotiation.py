"""Negotiate the media type of responses and the client's preferences (RFC 9110, RFC 7240, FHIR R4's HTTP page)."""

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

from patient_api.errors import ApiError, NotAcceptable
from patient_api.http.request import FORM, Request, elements, is_fhir_r4, parameters

FHIR: Final = "application/fhir+json"
JSON: Final = "application/json"
# The same bytes under each name (https://hl7.org/fhir/R4/http.html#mime-type), the preferred one first.
WRITTEN: Final = (FHIR, JSON)

_FORMATS: Final[Mapping[str, str]] = {"json": FHIR, FHIR: FHIR, JSON: JSON, "text/json": JSON}
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_REFUSAL: Final = "This server writes application/fhir+json."


def media_type(request: Request) -> str:
    """Return the media type to answer with: of `_format` or, without one, the best of Accept. Raises NotAcceptable."""
    wanted = format_in(_parameters(request))
    if wanted is not None:
        return wanted
    ranges = [parameters(element) for element in elements(request.headers.get("accept", ""))]
    if not ranges:
        return FHIR
    qualities = {written: _quality(written, ranges) for written in WRITTEN}
    best = max(WRITTEN, key=lambda written: qualities[written])
    if not qualities[best]:
        raise NotAcceptable(_REFUSAL)
    return best


def _parameters(request: Request) -> Iterable[tuple[str, str]]:
    if request.method == "POST" and request.media_type == FORM:
        # The search itself reports what is wrong with a form.
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
    """Return the caller's preferences by name; of a preference that is given twice, the first counts (RFC 7240)."""
    found: dict[str, str] = {}
    for element in elements(request.headers.get("prefer", "")):
        name, value = parameters(element)[0]
        found.setdefault(name, value.lower())
    return found


def lenient(request: Request) -> bool:
    """Return whether a search may drop unknown parameters: the preference is `handling=lenient`."""
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

"""Lists and parameters in header fields (RFC 9110, sections 5.6.1 and 5.6.6)."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

# `4.0` is R4's value of fhirVersion (https://hl7.org/fhir/R4/http.html#version-parameter); some send 4.0.1.
_READ: Final[Mapping[str, re.Pattern[str]]] = {
    "fhirversion": re.compile(r"4\.0(\.[0-9]+)?"),
    "charset": re.compile("utf-?8", re.IGNORECASE),
}


def elements(value: str) -> list[str]:
    """Return the elements of a comma-separated list; empty elements count for nothing, as the RFC has it."""
    return [element.strip() for element in _split(value, ",") if element.strip()]


def parameters(element: str) -> list[tuple[str, str]]:
    """Return `return=minimal; wait="10"` as pairs: names in lower case, values without their quotes.

    A name without a value has an empty one, such as the media type that a Content-Type begins with.
    """
    found = []
    for part in _split(element, ";"):
        name, _, value = part.partition("=")
        found.append((name.strip().lower(), _unquoted(value.strip())))
    return found


def is_fhir_r4(given: Iterable[tuple[str, str]]) -> bool:
    """Return whether the parameters of a media type leave it one that this server reads and writes: R4 in UTF-8.

    Where a parameter comes more than once, each of its values has to be one of these.
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

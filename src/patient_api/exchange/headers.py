"""Lists and parameters in header fields (RFC 9110, sections 5.6.1 and 5.6.6)."""

from collections.abc import Iterable
from typing import Final

FHIR_VERSION: Final = "4.0"


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
    """Return whether the parameters of a media type leave it one that this server reads and writes: R4 in UTF-8."""
    named = dict(given)
    version, charset = named.get("fhirversion", FHIR_VERSION), named.get("charset", "utf-8")
    return version.startswith(FHIR_VERSION) and charset.lower() in {"utf-8", "utf8"}


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

"""Check constraints of FHIR and of the profile that JSON Schema cannot express.

Each function returns the problem with an element, or None. Formats check strings beyond a regular expression; their
names are the values of `format` in the schemas.
"""

import binascii
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from patient_api.fhir.profile.document import LARGEST_DOCUMENT, LARGEST_UNSIGNED_INT, SHA256, SIZE, extensions


def _extension_or_value(extension: dict[str, Any]) -> str | None:
    values = any(name.startswith(("value", "_value")) for name in extension)
    return None if values != ("extension" in extension) else "must have either a value or extensions"


def _start_before_end(period: dict[str, Any]) -> str | None:
    start, end = period.get("start"), period.get("end")
    if start is None or end is None:
        return None
    if "T" in start and "T" in end:
        backwards = _time(start) > _time(end)
    elif "T" in start or "T" in end:
        # A date without a time zone may be before or after an instant.
        backwards = False
    else:
        known = min(len(start), len(end))
        backwards = start[:known] > end[:known]
    return "must not end before it starts" if backwards else None


def _time(text: str) -> tuple[datetime, Decimal]:
    # datetime has no leap seconds and no fractions of a microsecond. "2024-02-29T12:30" is 16 characters long.
    minute, rest = text[:16], text[17:]
    seconds = re.split("[Z+-]", rest, maxsplit=1)[0]
    zone = rest.removeprefix(seconds).replace("Z", "+00:00")
    return datetime.fromisoformat(f"{minute}:00{zone}"), Decimal(seconds)


def _contact_has_details(contact: dict[str, Any]) -> str | None:
    if contact.keys() & {"name", "telecom", "address", "organization"}:
        return None
    return "must have a name, a telecom, an address or an organization"


def _declares_sha256(attachment: dict[str, Any]) -> str | None:
    declared = extensions(attachment, SHA256)
    if len(declared) == 1:
        value = declared[0].get("valueBase64Binary")
        digest = binascii.a2b_base64(value or "")
        # Only the canonical text of a digest, without white space and stray bits, is accepted.
        if len(digest) == 32 and binascii.b2a_base64(digest, newline=False).decode() == value:
            return None
    return f"must have one extension {SHA256} with the document's SHA-256: 32 bytes as valueBase64Binary"


def _declares_size(attachment: dict[str, Any]) -> str | None:
    declared = extensions(attachment, SIZE)
    if not declared and "size" in attachment:
        return None
    if len(declared) == 1 and "size" not in attachment:
        value = declared[0].get("valueDecimal")
        if isinstance(value, Decimal) and LARGEST_UNSIGNED_INT < value <= LARGEST_DOCUMENT and value == int(value):
            return None
    return (
        f"must have a size in bytes or, above {LARGEST_UNSIGNED_INT} and up to {LARGEST_DOCUMENT}, "
        f"one extension {SIZE} with it as valueDecimal"
    )


INVARIANTS: Final[dict[str, Callable[[dict[str, Any]], str | None]]] = {
    "ext-1": _extension_or_value,
    "per-1": _start_before_end,
    "pat-1": _contact_has_details,
    "hdr-1": _declares_sha256,
    "hdr-2": _declares_size,
}


def _date_exists(text: str) -> bool:
    day = text[:10]
    try:
        date.fromisoformat(day if len(day) == 10 else "2000-01-01")
    except ValueError:
        return False
    return True


def _is_base64(text: str) -> bool:
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True) != b""
    except ValueError:
        return False


def _is_narrative(text: str) -> bool:
    # Few resources have a narrative, so its parser is loaded with the first one.
    from patient_api.fhir.profile.narrative import is_narrative

    return is_narrative(text)


FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "fhir-date": _date_exists,
    "fhir-base64": _is_base64,
    "fhir-xhtml": _is_narrative,
}

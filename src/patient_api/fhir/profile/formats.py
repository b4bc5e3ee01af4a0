"""What a regular expression cannot say of a string; the names are those of `format` in the schemas."""

import binascii
from collections.abc import Callable
from datetime import date
from typing import Final


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
    # Most resources come without a narrative: its parser is loaded with the first.
    from patient_api.fhir.profile.narrative import is_narrative

    return is_narrative(text)


FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "fhir-date": _date_exists,
    "fhir-base64": _is_base64,
    "fhir-xhtml": _is_narrative,
}

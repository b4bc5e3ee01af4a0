"""Versions as HTTP validators (https://hl7.org/fhir/R4/http.html#versioning)."""

import re
from typing import Final

from patient_api.errors import Malformed, PreconditionRequired

_WEAK: Final = re.compile(r'W/"([A-Za-z0-9\-.]{1,64})"')


def weak(version: str) -> str:
    """The ETag of a version."""
    return f'W/"{version}"'


def expected(if_match: str | None) -> str:
    """The version id in an If-Match header. Raises PreconditionRequired or Malformed."""
    if if_match is None:
        raise PreconditionRequired('This needs If-Match: W/"<version>", the version it is to replace.')
    return named(if_match, "If-Match")


def named(value: str, header: str) -> str:
    """The version id in a header that names one version. Raises Malformed."""
    match = _WEAK.fullmatch(value.strip())
    if not match:
        raise Malformed(f'{header} must be of the form W/"<version>".')
    return match[1]


def each(value: str, header: str) -> tuple[str, ...]:
    """The version ids in a header that names some. Raises Malformed."""
    return tuple(named(part, header) for part in value.split(","))

"""Evaluate the preconditions of requests against the versions of records (RFC 9110, sections 8.8.3 and 13).

FHIR's tags are weak, and it uses them in If-Match (https://hl7.org/fhir/R4/http.html#concurrency). So tags are
always compared weakly, and `"v"` names the same version as `W/"v"`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Self

from patient_api.clock import Stamp
from patient_api.contract.headers import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_EXIST,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
    MERGES,
    MINIMUM_VERSION,
)
from patient_api.errors import Malformed
from patient_api.http.request import Request
from patient_api.store.model import Version

STALE: Final = "The preconditions do not allow the current version."

LARGEST_MERGE: Final = 10

_SAFE: Final = frozenset({"GET", "HEAD"})
_CONDITIONS: Final = (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_EXIST,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
    MERGES,
    MINIMUM_VERSION,
)
# One element of a list of tags, which may be empty. A tag may contain commas, and has no escapes.
_ELEMENT: Final = re.compile(r'[ \t]*(?:(?:W/)?"(?P<tag>[^"\x00-\x20\x7f]*)")?[ \t]*(?:,|\Z)')
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH: Final = f"(?P<month>{'|'.join(_MONTHS)})"
_OF_DAY: Final = "(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
# The three forms of an HTTP-date (RFC 9110, section 5.6.7): IMF-fixdate, RFC 850 and asctime.
_DATES: Final = (
    f"[A-Z][a-z][a-z], (?P<day>[0-9][0-9]) {_MONTH} (?P<year>[0-9]{{4}}) {_OF_DAY} GMT",
    f"[A-Z][a-z]+day, (?P<day>[0-9][0-9])-{_MONTH}-(?P<year>[0-9][0-9]) {_OF_DAY} GMT",
    f"[A-Z][a-z][a-z] {_MONTH} (?P<day>[ 0-9][0-9]) {_OF_DAY} (?P<year>[0-9]{{4}})",
)


def weak(version: str) -> str:
    """Return the ETag of a version."""
    return f'W/"{version}"'


def each(value: str, header: str) -> tuple[str, ...]:
    """Return the version ids in a header that lists one tag or more. Raises Malformed."""
    found: list[str] = []
    at = 0
    while at < len(value):
        element = _ELEMENT.match(value, at)
        if element is None:
            raise _malformed(header)
        if element["tag"] is not None:
            found.append(element["tag"])
        at = element.end()
    if not found:
        raise _malformed(header)
    return tuple(found)


def named(value: str, header: str) -> str:
    """Return the version id in a header with one tag. Raises Malformed."""
    found = each(value, header)
    if len(found) > 1:
        raise Malformed(f"{header} takes one version.")
    return found[0]


@dataclass(frozen=True)
class Tags:
    """The versions that a condition names. None stands for `*`, which matches any version that is not deleted."""

    versions: frozenset[str] | None

    @classmethod
    def of(cls, value: str, header: str) -> Self:
        """Return the tags in a header. Raises Malformed."""
        return cls(None if value.strip() == "*" else frozenset(each(value, header)))

    def include(self, version: Version) -> bool:
        """Return whether the list contains the version's tag."""
        return version.resource is not None if self.versions is None else str(version.stamp) in self.versions


@dataclass(frozen=True)
class Preconditions:
    """The preconditions of one request, None for absent ones. Times are in seconds since 1970."""

    match: Tags | None = None
    none_match: Tags | None = None
    modified_since: int | None = None
    unmodified_since: int | None = None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return the preconditions of a request. Raises Malformed for an invalid tag, but not for one of a read."""
        safe = request.method in _SAFE
        match, none_match = request.header(IF_MATCH), request.header(IF_NONE_MATCH)
        return cls(
            match=None if match is None else Tags.of(match, IF_MATCH),
            none_match=None if none_match is None else _none_match(none_match, safe=safe),
            # A tag takes precedence over a date (RFC 9110, sections 13.1.3 and 13.1.4).
            modified_since=_time(request.header(IF_MODIFIED_SINCE)) if safe and none_match is None else None,
            unmodified_since=_time(request.header(IF_UNMODIFIED_SINCE)) if match is None else None,
        )

    def or_match(self, version: str | None) -> Self:
        """Return these preconditions with `version` as If-Match, where the request has no If-Match."""
        if self.match is not None or version is None:
            return self
        return replace(self, match=Tags(frozenset({version})))

    @property
    def version(self) -> str | None:
        """The only version that the request may change; None when the current version has to be read first."""
        if self.match is None or self.match.versions is None or len(self.match.versions) != 1:
            return None
        return next(iter(self.match.versions)) if self.none_match is None and self.unmodified_since is None else None

    def allow_change_of(self, current: Version) -> bool:
        """Return whether the request may change the record at this version; if not, the response is 412."""
        return self.allow_read_of(current) and not (self.none_match is not None and self.none_match.include(current))

    def allow_read_of(self, current: Version) -> bool:
        """Return whether the request may read this version; if not, the response is 412."""
        if self.match is not None and not self.match.include(current):
            return False
        return self.unmodified_since is None or current.stamp.millis // 1000 <= self.unmodified_since

    def known(self, current: Version) -> bool:
        """Return whether the client of a read already has this version; the response is then 304."""
        if self.none_match is not None:
            return self.none_match.include(current)
        if self.modified_since is None:
            return False
        second = current.stamp.millis // 1000
        # Last-Modified has whole seconds, so the client may have the first of two versions of the same second.
        same_second = current.replaces is not None and current.replaces.millis // 1000 == second
        return second < self.modified_since or (second == self.modified_since and not same_second)


def check_headers(request: Request, *, takes: Collection[str]) -> None:
    """Raise Malformed for a condition that the route of the request does not evaluate.

    Except for dates that RFC 9110 requires to ignore: If-Modified-Since on a write (section 13.1.3), and both dates on
    a read of what has no modification date, such as a search (sections 13.1.3 and 13.1.4).
    """
    safe = request.method in _SAFE
    for name in _CONDITIONS:
        if name in takes or request.header(name) is None:
            continue
        undated = safe and IF_UNMODIFIED_SINCE not in takes
        if (name == IF_MODIFIED_SINCE and (undated or not safe)) or (name == IF_UNMODIFIED_SINCE and undated):
            continue
        raise Malformed(f"{request.method} does not support {name} on this path: omit the header.")


def merges_in(request: Request) -> tuple[str, ...]:
    """Return the versions that Merges names, none without it. Raises Malformed."""
    header = request.header(MERGES)
    merges = each(header, MERGES) if header is not None else ()
    if len(merges) > LARGEST_MERGE:
        raise Malformed(f"{MERGES} takes {LARGEST_MERGE} versions at most.")
    return tuple(dict.fromkeys(merges))


def minimum_version(request: Request) -> Stamp | None:
    """Return the version in Minimum-Version; the response must not be older. None without it. Raises Malformed."""
    header = request.header(MINIMUM_VERSION)
    if header is None:
        return None
    stamp = Stamp.parse(named(header, MINIMUM_VERSION))
    if stamp is None:
        raise Malformed(f"{MINIMUM_VERSION} is not a version of this server.")
    return stamp


def _none_match(value: str, *, safe: bool) -> Tags:
    try:
        return Tags.of(value, IF_NONE_MATCH)
    except Malformed:
        if not safe:
            raise
        # A complete response is always correct.
        return Tags(frozenset())


def _time(value: str | None) -> int | None:
    """Return the time in a header, None without a single valid HTTP-date, which RFC 9110 demands to ignore."""
    text = (value or "").strip(" \t")
    date = next(filter(None, (re.fullmatch(form, text) for form in _DATES)), None)
    if date is None:
        return None
    try:
        minute = datetime(
            _year(date["year"]),
            _MONTHS.index(date["month"]) + 1,
            int(date["day"]),
            int(date["hour"]),
            int(date["minute"]),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    # Second 60 is a leap second.
    return int(minute.timestamp()) + int(date["second"])


def _year(text: str) -> int:
    """Return the year of an HTTP-date. A year of two digits is at most 50 years ahead (RFC 9110, section 5.6.7)."""
    if len(text) > 2:
        return int(text)
    latest = datetime.now(UTC).year + 50
    return latest - (latest - int(text)) % 100


def _malformed(header: str) -> Malformed:
    return Malformed(f'{header} must be of the form W/"<version>".')

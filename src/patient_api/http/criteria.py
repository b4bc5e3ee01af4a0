"""Reject requests with unsupported criteria, so that they return no data.

On every route under `/fhir`:

- A parameter that the route does not take is rejected with 400.
- A search with the preference `handling=lenient` drops a parameter that is unknown or empty, and names it in an
  OperationOutcome among the entries of its bundle. When no criterion remains, it is rejected with 400. Other responses
  have no place for that name, so other interactions reject the preference.
- An unsupported modifier is rejected in either mode, as R4 requires: without it, a known parameter finds other records
  (https://hl7.org/fhir/R4/search.html#modifiers).
- A body of a media type that the route does not take is rejected with 415. The body of a GET, which has no meaning in
  HTTP and may hold criteria, and a form without any are rejected with 400.
- A conditional request names a record by criteria in place of an id. It takes search criteria, and no parameters that
  control the response of a search.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias
from urllib.parse import parse_qsl, urlencode

from patient_api.contract.headers import IF_NONE_EXIST
from patient_api.errors import Malformed
from patient_api.http.negotiation import format_in
from patient_api.http.request import LARGEST_QUERY, Request

Pairs: TypeAlias = Sequence[tuple[str, str]]

# Every route takes these. They control the form of the response, not its content.
GENERAL: Final = ("_format", "_pretty")

_PRETTY: Final = frozenset({"true", "false"})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")


@dataclass(frozen=True)
class Criteria:
    """The criteria of a conditional request (https://hl7.org/fhir/R4/http.html#ccreate, #cond-update).

    `pairs` are names and values. `place` is the part of the request that contains them, for errors.
    """

    pairs: Pairs
    place: str

    @classmethod
    def of_header(cls, value: str) -> Self:
        """Return the criteria in an If-None-Exist. Raises Malformed for a text that is not a query."""
        try:
            pairs = parse_qsl(
                value, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=LARGEST_QUERY
            )
        except ValueError:
            raise Malformed(f"{IF_NONE_EXIST} is not a query: send name=value, joined by &.") from None
        return cls(pairs, IF_NONE_EXIST)

    @classmethod
    def of_url(cls, request: Request) -> Self | None:
        """Return the criteria in the URL, None when it has only general parameters.

        Raises Malformed, and NotAcceptable for a format that is not written.
        """
        pairs = request.parameters_of_query()
        checked([pair for pair in pairs if pair[0] in GENERAL], takes=GENERAL)
        found = [pair for pair in pairs if pair[0] not in GENERAL]
        return cls(found, "the URL") if found else None

    @property
    def canonical(self) -> str:
        """A text that is equal for equal criteria, independent of order, escaping and place."""
        return urlencode(sorted(self.pairs))


def check_parameters(request: Request, *, takes: Collection[str]) -> None:
    """Check the query of a request that is no search: `takes` are its parameters beside the general ones.

    Raises Malformed, NotAcceptable.
    """
    request.check_no_body_of_get()
    pairs, _ = checked(request.parameters_of_query(), takes={*takes, *GENERAL})
    own = [name for name, _ in pairs if name in takes]
    if len(set(own)) != len(own):
        raise Malformed(f"Each of {', '.join(sorted(takes))} may appear once.")


def checked(pairs: Pairs, *, takes: Collection[str], lenient: bool = False) -> tuple[Pairs, Sequence[str]]:
    """Return the parameters that are taken, and the names of the others, which are dropped if `lenient` allows it.

    R4 lets a server ignore a parameter without a value (https://hl7.org/fhir/R4/search.html). With `lenient` it is
    dropped and named, because a criterion that is ignored without notice would widen the search. Raises Malformed, and
    NotAcceptable for a format that is not supported.
    """
    found = [(name, value) for name, value in pairs if name in takes and (value or not lenient)]
    empty = dict.fromkeys(name for name, value in pairs if name in takes and not value) if lenient else {}
    unknown = list(dict.fromkeys(name for name, _ in pairs if name not in takes))
    for name in unknown:
        if name.partition(":")[0] in takes:
            raise Malformed("This server supports no modifiers of search parameters.")
    if unknown and not lenient:
        raise Malformed(f"The parameter is unknown; this route supports {', '.join(sorted(takes)) or 'none'}.")
    format_in(found)
    if not _PRETTY.issuperset(value for name, value in found if name == "_pretty"):
        raise Malformed("_pretty must be true or false.")
    return found, [*map(named, unknown), *(f"{name}, which is empty" for name in empty)]


def count_in(text: str | None, *, default: int, most: int) -> int:
    """Return the value of `_count`, limited to `most`; 0 requests the total alone. Raises Malformed."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise Malformed("_count must be a whole number of at least 0.")
    digits = text.lstrip("0")
    # One digit more than `most` has already exceeds it; int() limits the length of its argument.
    return min(int(digits[: len(str(most)) + 1] or "0"), most)


def named(name: str) -> str:
    """Return the name of a parameter for a response, which must not repeat arbitrary text."""
    return name if _NAME.fullmatch(name) else "a parameter whose name FHIR does not allow"

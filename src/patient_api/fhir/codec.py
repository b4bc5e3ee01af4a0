"""Parse and write JSON without loss, and reject documents that parsers read differently.

A number keeps its text, because the FHIR decimals `1.0` and `1.00` differ (https://hl7.org/fhir/R4/json.html#primitive).
"""

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn, TypeAlias

from patient_api.errors import Malformed

MAX_DEPTH: Final = 64
MAX_NUMBER_LENGTH: Final = 64


class Number(Decimal):
    """A number and its text."""

    text: str

    def __new__(cls, text: str) -> "Number":
        """Raises Malformed for a number that is too long or out of the range of Decimal."""
        if len(text) > MAX_NUMBER_LENGTH:
            raise Malformed("A number has too many digits.")
        try:
            number = super().__new__(cls, text)
        except InvalidOperation:
            raise Malformed("A number has an exponent out of range.") from None
        number.text = text
        return number


JsonValue: TypeAlias = "bool | str | Number | list[JsonValue] | dict[str, JsonValue] | None"

_FORBIDDEN: Final = re.compile("[\0\ud800-\udfff]")
_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode


def parse(data: bytes) -> JsonValue:
    """Return the value in `data`. Raises Malformed, whose text names the position or the rule, never the content."""
    try:
        value: JsonValue = _decoder.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise Malformed(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    _check(value, 0)
    return value


def dump(value: JsonValue) -> str:
    """Return compact JSON. It differs from what `parse` read in white space and escapes only."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(key)}:{dump(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return "null" if value is None else "true" if value else "false"


def _check(value: JsonValue, depth: int) -> None:
    if isinstance(value, str):
        if _FORBIDDEN.search(value):
            raise Malformed("A string contains NUL or half of a surrogate pair.")
    elif isinstance(value, (dict, list)):
        if depth >= MAX_DEPTH:
            raise Malformed(f"The body is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(value, dict):
            for key in value:
                _check(key, depth)
        for item in value.values() if isinstance(value, dict) else value:
            _check(item, depth + 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("An object names the same member twice.")
    return members


def _constant(_: str) -> NoReturn:
    raise Malformed("NaN and Infinity are not JSON.")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=_constant
)

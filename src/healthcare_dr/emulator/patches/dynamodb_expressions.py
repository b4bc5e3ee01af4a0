"""DynamoDB: cached expressions, faster copies of items, and items that share what they have in common."""

import copy
import json
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ministack.services import dynamodb

# Clients send few different expressions: what differs from request to request is in the values.
EXPRESSIONS = 1024
LONGEST_BYTES = 4096  # of an expression (AWS), so that the caches are bounded
MOST_TOKENS = 1024  # likewise
# Values that are worth keeping, such as a tenant or an outcome, are short; most others occur once.
LONGEST_SHARED = 64
MOST_SHARED = 10_000

Token = tuple[str, str]


def cache_parsed_expressions() -> None:
    """Cache parsed expressions: ministack parses and checks them for every request, and for every item that a query
    reads."""
    tokenize, syntax_error = dynamodb._tokenize, dynamodb._condition_syntax_error
    redundant, reserved = dynamodb._check_redundant_parens, dynamodb._check_reserved_keyword_usage

    @lru_cache(EXPRESSIONS)
    def tokens_of(text: str) -> tuple[Token, ...]:
        return tuple(tokenize(text))

    def tokens(text: str) -> list[Token]:
        # A list of its own for each caller, who may change it.
        return list(tokens_of(text)) if len(text) <= LONGEST_BYTES else list(tokenize(text))

    @lru_cache(EXPRESSIONS)
    def redundant_in(found: tuple[Token, ...], slot: str) -> str | None:
        error: str | None = redundant(list(found), slot)
        return error

    @lru_cache(EXPRESSIONS)
    def reserved_in(found: tuple[Token, ...]) -> str | None:
        error: str | None = reserved(list(found))
        return error

    def remembered(inner: Callable[..., Any]) -> Callable[..., Any]:
        cached = lru_cache(EXPRESSIONS)(inner)
        return lambda text, *rest: (cached if len(text) <= LONGEST_BYTES else inner)(text, *rest)

    # Tokens are fewer than the bytes of their expression.
    dynamodb._tokenize = tokens
    dynamodb._condition_syntax_error = remembered(syntax_error)
    dynamodb._check_redundant_parens = lambda found, slot="ConditionExpression": (
        redundant_in(tuple(found), slot) if len(found) <= MOST_TOKENS else redundant(found, slot)
    )
    dynamodb._check_reserved_keyword_usage = lambda found: (
        reserved_in(tuple(found)) if len(found) <= MOST_TOKENS else reserved(found)
    )
    dynamodb._validate_projection_expression_syntax = remembered(dynamodb._validate_projection_expression_syntax)


def copied(value: Any) -> Any:
    """Return a deep copy, about ten times as fast as `copy.deepcopy` for the types of JSON."""
    kind = type(value)
    if kind is dict:
        if len(value) == 1 and type(value.get("S")) is str:
            return value  # as in `Requests`, which nothing alters
        return {key: copied(member) for key, member in value.items()}
    if kind is list:
        return [copied(member) for member in value]
    if kind in _ATOMS:
        return value
    return copy.deepcopy(value)


_ATOMS = frozenset({str, bytes, int, float, bool, type(None)})


class _Copy:
    """Replaces the module `copy` in ministack's DynamoDB."""

    deepcopy: Callable[[Any], Any] = staticmethod(copied)
    copy = staticmethod(copy.copy)


def copy_items_as_trees() -> None:
    """Copy items without the memo of `copy.deepcopy`, which only objects with shared parts need."""
    dynamodb.copy = _Copy


class Requests:
    """Replaces the module `json` in ministack's DynamoDB: equal short strings of all items are one object.

    Items are replaced when they change, never altered; and of an attribute's value, ministack alters numbers alone.
    """

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(json, name)

    def loads(self, text: str | bytes) -> Any:
        """As `json.loads`."""
        return json.loads(text, object_pairs_hook=self._shared)

    def _shared(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) == 1:
            ((name, value),) = pairs
            if name == "S" and type(value) is str and len(value) <= LONGEST_SHARED:
                if (found := self._known.get(value)) is None:
                    if len(self._known) >= MOST_SHARED:
                        self._known.clear()
                    self._known[value] = found = {"S": value}
                return found
        return {sys.intern(name): value for name, value in pairs}


def share_equal_parts_of_items() -> None:
    """Keep one object for each attribute's name and for equal short values. Of 5 KB that an audit item takes, two
    thirds are in all the others as well."""
    dynamodb.json = Requests()

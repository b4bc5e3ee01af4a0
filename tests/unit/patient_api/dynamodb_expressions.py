"""Evaluate DynamoDB's condition expressions, limited to those that the functions use, and as strictly as DynamoDB does.

(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html)
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

Item = dict[str, Any]
Test = Callable[[Item], bool]

_TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),]|[:#]?[A-Za-z_][A-Za-z0-9_]*)")
_KEY_CONDITION = re.compile(
    r"(?P<hash>#?\w+) = :\w+"
    r"( AND (begins_with\((?P<a>#?\w+), :\w+\)|(?P<b>#?\w+) BETWEEN :\w+ AND :\w+|(?P<c>#?\w+) (=|<|<=|>|>=) :\w+))?"
)
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# Other attributes may be reserved words, now or later, so they need an alias.
_PLAIN = frozenset({"pk", "sk", "update_shard", "updated"})


class InvalidRequestError(AssertionError):
    """DynamoDB would reject the request with a ValidationException."""


class Names:
    """The placeholders of a request. All must be defined, and all must be used."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._names: Mapping[str, str] = request.get("ExpressionAttributeNames") or {}
        self._values: Mapping[str, Any] = request.get("ExpressionAttributeValues") or {}
        for part in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            if part in request and not request[part]:
                raise InvalidRequestError(f"{part} must not be empty")
        self._used: set[str] = set()

    def attribute(self, token: str) -> str:
        """Return the attribute of a token."""
        if token in _PLAIN:
            return token
        self._used.add(token)
        if token not in self._names:
            raise InvalidRequestError(f"{token} is no alias")
        return self._names[token]

    def value(self, token: str) -> Mapping[str, Any]:
        """Return the value of a token."""
        self._used.add(token)
        if token not in self._values:
            raise InvalidRequestError(f"{token} has no value")
        value: Mapping[str, Any] = self._values[token]
        return value

    def check(self) -> None:
        """Raise InvalidRequestError for unused placeholders."""
        unused = (self._names.keys() | self._values.keys()) - self._used
        if unused:
            raise InvalidRequestError(f"unused: {sorted(unused)}")


def compile_condition(text: str, names: Names) -> Test:
    """Return a predicate of items for a condition."""
    tokens, end = [], 0
    while end < len(text.rstrip()):
        match = _TOKEN.match(text, end)
        if not match:
            raise InvalidRequestError(f"syntax error at {end} in {text!r}")
        tokens.append(match[1])
        end = match.end()
    parser = _Parser(tokens, names)
    test = parser.alternatives()
    if parser.tokens:
        raise InvalidRequestError(f"syntax error: {parser.tokens}")
    return test


def compile_key_condition(text: str, names: Names, *, partition: str, order: str) -> Test:
    """Return a predicate for a key condition: one partition, and at most one range."""
    match = _KEY_CONDITION.fullmatch(text)
    attributes = [names.attribute(match[name]) for name in ("hash", "a", "b", "c") if match[name]] if match else []
    if attributes not in ([partition], [partition, order]):
        raise InvalidRequestError(f"{text!r} is no condition on the key")
    return compile_condition(text, names)


class _Parser:
    def __init__(self, tokens: list[str], names: Names) -> None:
        self.tokens = tokens
        self._names = names

    def alternatives(self) -> Test:
        tests = [self._all()]
        while self._accept("OR"):
            tests.append(self._all())
        return lambda item: any(test(item) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._accept("AND"):
            tests.append(self._one())
        return lambda item: all(test(item) for test in tests)

    def _one(self) -> Test:
        if self._accept("("):
            inner = self.alternatives()
            self._expect(")")
            return inner
        first = self._next()
        if first in {"attribute_exists", "attribute_not_exists", "begins_with"}:
            return self._function(first)
        name, sign = self._names.attribute(first), self._next()
        if sign == "BETWEEN":
            low = self._names.value(self._next())
            self._expect("AND")
            high = self._names.value(self._next())
            if low["S"] > high["S"]:
                raise InvalidRequestError("BETWEEN: the upper bound is below the lower one")
            return lambda item: low["S"] <= item[name]["S"] <= high["S"]
        value = self._names.value(self._next())
        if sign == "=":
            return lambda item: item.get(name) == value
        if sign in _ORDERS and "S" in value:
            return lambda item: "S" in item.get(name, ()) and _ORDERS[sign](item[name]["S"], value["S"])
        raise InvalidRequestError(f"cannot compare by {sign}")

    def _function(self, function: str) -> Test:
        self._expect("(")
        name = self._names.attribute(self._next())
        if function == "begins_with":
            self._expect(",")
            prefix = self._names.value(self._next())["S"]
            self._expect(")")
            return lambda item: name in item and item[name]["S"].startswith(prefix)
        self._expect(")")
        return lambda item: (name in item) == (function == "attribute_exists")

    def _next(self) -> str:
        if not self.tokens:
            raise InvalidRequestError("the expression ends too early")
        return self.tokens.pop(0)

    def _accept(self, token: str) -> bool:
        if self.tokens[:1] != [token]:
            return False
        self.tokens.pop(0)
        return True

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise InvalidRequestError(f"{token} expected")

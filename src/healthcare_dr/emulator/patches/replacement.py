"""Declare a patch that replaces one function of ministack and calls it."""

import functools
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

# Status, headers and body.
Response = tuple[int, dict[str, str], bytes]
Operation = Callable[..., Response]
Handler = Callable[..., Awaitable[Response]]


def replaces(target: ModuleType | dict[str, Any], name: str) -> Callable[[Callable[..., Any]], Callable[[], None]]:
    """Return the decorator of a function that replaces the function `name` of a module, or of a table of operations.

    The function receives the replaced one as its first argument. The result of the decorator applies the patch.
    """
    functions = target if isinstance(target, dict) else vars(target)

    def decorate(function: Callable[..., Any]) -> Callable[[], None]:
        @functools.wraps(function)
        def apply() -> None:
            inner = functions[name]
            functions[name] = functools.update_wrapper(functools.partial(function, inner), inner)

        return apply

    return decorate

"""Cache one value for a limited time, and evaluate it once however many threads need it."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class TTLCache(Generic[T]):
    """A cache of the result of `evaluate` for `seconds`. Concurrent callers wait for an evaluation in progress."""

    def __init__(
        self, *, evaluate: Callable[[], T], seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._evaluate = evaluate
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = Lock()
        self._cached: tuple[T, float] | None = None

    def get(self) -> T:
        """Return the cached value, or evaluate it when it has expired."""
        with self._lock:
            if self._cached and self._monotonic() < self._cached[1]:
                return self._cached[0]
            value = self._evaluate()
            self._cached = value, self._monotonic() + self._seconds
            return value

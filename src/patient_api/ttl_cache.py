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
        self._kept: tuple[T, float] | None = None

    def get(self) -> T:
        """The kept verdict while it is fresh, else a new one."""
        with self._lock:
            if self._kept and self._monotonic() < self._kept[1]:
                return self._kept[0]
            verdict = self._evaluate()
            self._kept = verdict, self._monotonic() + self._seconds
            return verdict

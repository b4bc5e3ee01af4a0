"""Run a function for many arguments, some at a time."""

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def submit_all(ask: Callable[[T], R], things: Sequence[T], *, at_once: int, until: float = math.inf) -> list[Future[R]]:
    """Return futures in the order of the arguments. None starts after `until`, in seconds of the monotonic clock."""
    futures = [Future[R]() for _ in things]
    waiting: queue.SimpleQueue[tuple[T, Future[R]]] = queue.SimpleQueue()
    for pair in zip(things, futures, strict=True):
        waiting.put(pair)

    def work() -> None:
        while time.monotonic() < until:
            try:
                thing, future = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                future.set_result(ask(thing))
            except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
                future.set_exception(error)

    # Daemons: a socket that never answers must not keep the command from ending.
    for _ in range(min(at_once, len(things))):
        threading.Thread(target=work, daemon=True).start()
    return futures

"""Asks the same of many, some at a time."""

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def begun(ask: Callable[[T], R], things: Sequence[T], *, at_once: int, until: float = math.inf) -> list[Future[R]]:
    """The answers to come, in the order of the things; none is asked for after `until`, in monotonic seconds."""
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

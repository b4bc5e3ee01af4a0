"""Record what a drill's clients asked for and received, as a history that can be checked."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from healthcare_dr.ops.drill.journal import Operation

FILE: Final = "history.jsonl"


class OperationHistory:
    """The operations of all clients, in the order in which they were added. Thread-safe. `clock` is the drill's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._operations: list[Operation] = []
        self._lists: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def add(self, operation: Operation) -> None:
        """Add an operation that has ended."""
        with self._lock:
            # Most reads return the same lists, which are kept once.
            shared = self._lists.setdefault(operation.values, operation.values)
            self._operations.append(replace(operation, values=shared))

    def operations(self) -> tuple[Operation, ...]:
        """Return all operations that have ended so far."""
        with self._lock:
            return tuple(self._operations)

    def write(self, folder: Path) -> Path:
        """Write `history.jsonl` into `folder`, an operation in each line, and return its path."""
        path = folder / FILE
        with path.open("w", encoding="utf-8") as file:
            for operation in self.operations():
                file.write(json.dumps(asdict(operation), separators=(",", ":")) + "\n")
        return path

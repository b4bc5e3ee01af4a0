"""Report progress on stderr: live lines at a terminal, one plain line per event elsewhere."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from healthcare_dr.ops.ports import Progress


class PlainProgress:
    """For logs: each thing that happened is a line, and polling is none."""

    def __init__(self, *, console: Console) -> None:
        self._console = console
        self._began: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Print it. A terminal that was closed, or a full disk, ends no work that is in progress."""
        with suppress(OSError):
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, stack: str, phase: str) -> None:
        """Print which stack enters which phase."""
        self._began[stack] = time.monotonic()
        self.say(f"{stack}: {phase}")

    def advance(self, stack: str, *, done: int, total: int, current: str) -> None:
        """Nothing: what is still running is no event."""

    def complete(self, stack: str, *, done: int, total: int, resource: str) -> None:
        """Print the resource."""
        self.say(f"{stack}: {done}/{total} {resource}")

    def end(self, stack: str, result: str) -> None:
        """Print the result and the time since `begin`."""
        self.say(f"{stack}: {result} ({time.monotonic() - self._began[stack]:.0f} s)")


class LiveProgress:
    """For a terminal: a line per stack with a bar, the count, the time and the newest resource."""

    def __init__(self, *, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.fields[stack]}", style="bold"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[current]}", style="dim", markup=False),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Remove the lines inside the block, so that a question can be asked."""
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()

    def say(self, text: str) -> None:
        """Print a line above the live lines; as `PlainProgress.say` when the terminal is closed."""
        with suppress(OSError):
            self._console.print(Text(text), soft_wrap=True)

    def begin(self, stack: str, phase: str) -> None:
        """Show a line for the stack."""
        with self._lock:
            if (former := self._tasks.pop(stack, None)) is not None:
                self._bars.remove_task(former)
            self._tasks[stack] = self._bars.add_task(phase, total=None, stack=stack, current="")

    def advance(self, stack: str, *, done: int, total: int, current: str) -> None:
        """Move the bar and name the resource."""
        self._bars.update(self._tasks[stack], completed=done, total=total, current=current)

    def complete(self, stack: str, *, done: int, total: int, resource: str) -> None:
        """Move the bar and name the resource that is done."""
        self.advance(stack, done=done, total=total, current=resource)

    def end(self, stack: str, result: str) -> None:
        """Take the line away and print the result."""
        with self._lock:
            task = self._tasks.pop(stack)
            elapsed = next(item.elapsed or 0.0 for item in self._bars.tasks if item.id == task)
            self._bars.remove_task(task)
        self.say(f"✓ {stack}: {result} ({elapsed:.0f} s)")


@contextmanager
def reporting(console: Console) -> Iterator[Progress]:
    """The progress that fits the console."""
    if not console.is_terminal:
        yield PlainProgress(console=console)
        return
    with LiveProgress(console=console) as live:
        yield live


@contextmanager
def quiet(progress: Progress) -> Iterator[None]:
    """No live lines inside the block."""
    if isinstance(progress, LiveProgress):
        with progress.paused():
            yield
    else:
        yield

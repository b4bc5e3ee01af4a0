"""Report progress on stderr: live lines at a terminal, one plain line per event elsewhere."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from healthcare_dr.ops.ports import Progress


class PlainProgress:
    """Prints a line for each event, for logs."""

    def __init__(self, *, console: Console) -> None:
        self._console = console
        self._began: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Print the text. A closed terminal or a full disk is ignored, so that it does not end the command."""
        with suppress(OSError):
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, stack: str, phase: str) -> None:
        """Print the stack and the phase."""
        self._began[stack] = time.monotonic()
        self.say(f"{stack}: {phase}")

    def advance(self, stack: str, *, done: int, total: int, current: str) -> None:
        """Do nothing."""

    def complete(self, stack: str, *, done: int, total: int, resource: str) -> None:
        """Print the resource."""
        self.say(f"{stack}: {done}/{total} {resource}")

    def end(self, stack: str, result: str) -> None:
        """Print the result and the time since `begin`."""
        self.say(f"{stack}: {result} ({time.monotonic() - self._began[stack]:.0f} s)")


class LiveProgress:
    """Shows a line for each stack with a bar, the count, the time and the newest resource, for terminals."""

    def __init__(self, *, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self.bars = Bars(
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

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Remove the lines inside the block, so that the operator can answer a question."""
        self.bars.stop()
        try:
            yield
        finally:
            self.bars.start()

    def say(self, text: str) -> None:
        """Print a line above the live lines. A closed terminal is ignored."""
        with suppress(OSError):
            self._console.print(Text(text), soft_wrap=True)

    def begin(self, stack: str, phase: str) -> None:
        """Show a line for the stack."""
        with self._lock:
            if (former := self._tasks.pop(stack, None)) is not None:
                self.bars.remove_task(former)
            self._tasks[stack] = self.bars.add_task(phase, total=None, stack=stack, current="")

    def advance(self, stack: str, *, done: int, total: int, current: str) -> None:
        """Update the bar and the resource."""
        self.bars.update(self._tasks[stack], completed=done, total=total, current=current)

    def complete(self, stack: str, *, done: int, total: int, resource: str) -> None:
        """Update the bar and the completed resource."""
        self.advance(stack, done=done, total=total, current=resource)

    def end(self, stack: str, result: str) -> None:
        """Remove the line and print the result."""
        with self._lock:
            task = self._tasks.pop(stack)
            elapsed = next(item.elapsed or 0.0 for item in self.bars.tasks if item.id == task)
            self.bars.remove_task(task)
        self.say(f"✓ {stack}: {result} ({elapsed:.0f} s)")


@contextmanager
def reporting(console: Console) -> Iterator[Progress]:
    """Yield live progress for a terminal, or plain progress."""
    if not console.is_terminal:
        yield PlainProgress(console=console)
        return
    live = LiveProgress(console=console)
    with live.bars:
        yield live


@contextmanager
def quiet(progress: Progress) -> Iterator[None]:
    """Hide live lines inside the block."""
    if isinstance(progress, LiveProgress):
        with progress.paused():
            yield
    else:
        yield

"""Simulated time, and tasks that run one at a time and switch where they wait.

Every task is a greenlet. A task runs until it waits: for time, for a signal, or for the result of a future. The
scheduler then advances the time to the next event. Events of the same time run in the order in which they were
scheduled, so that a run depends on its seed only.
"""

import heapq
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from random import Random
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

T = TypeVar("T")

MICROSECONDS = 1_000_000


def dice_of(name: object) -> Random:
    """Return dice of their own for a name. They do not depend on the hash seed of the process."""
    return Random(str(name))  # noqa: S311 - dice


class Killed(BaseException):
    """The process of the task was killed. Not an Exception, so that the application does not handle it."""


class StalledError(AssertionError):
    """A task waits for something that never happens, or a run takes more events than any run should."""


class Task:
    """A function that runs as a greenlet. `name` appears in the trace."""

    def __init__(self, scheduler: "Scheduler", name: str, function: Callable[[], object]) -> None:
        self.name = name
        self.dead = False
        self.done = Signal(scheduler)
        self.error: BaseException | None = None
        self._scheduler = scheduler
        self._function = function
        self.greenlet = greenlet(self._run, parent=scheduler.hub)

    def kill(self) -> None:
        """End the task where it waits. It runs no code of the application any more, apart from `finally` blocks."""
        if not self.dead and not self.done.is_set:
            self.dead = True
            self._scheduler.at(0, self.end)

    def end(self) -> None:
        """Raise Killed in the task, where it waits. Only events call this."""
        self.dead = True
        if not self.greenlet and not self.done.is_set:
            # It has not started.
            self._scheduler.tasks.pop(self, None)
            self.done.set()
        elif not self.done.is_set:
            self._scheduler.current = self
            self.greenlet.throw(Killed)
            self._scheduler.current = None

    def _run(self) -> None:
        try:
            if not self.dead:
                self._function()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - the scheduler raises it in the run
            self.error = error
            self._scheduler.failed.append(self)
        self._scheduler.tasks.pop(self, None)
        self.done.set()


class Scheduler:
    """Runs tasks on one clock. `now` is the time since the start of the run in microseconds."""

    def __init__(self, *, most_events: int = 2_000_000) -> None:
        self.now = 0
        self.hub = greenlet(self._loop)
        self.tasks: dict[Task, None] = {}
        self.failed: list[Task] = []
        self.current: Task | None = None
        self._events: list[tuple[int, int, Callable[[], object]]] = []
        self._scheduled = 0
        self._until = 0
        self._left = most_events

    @property
    def seconds(self) -> float:
        """The time since the start of the run."""
        return self.now / MICROSECONDS

    def at(self, delay: float, action: Callable[[], object]) -> None:
        """Run an action, which must not wait, after a number of seconds."""
        self._scheduled += 1
        heapq.heappush(self._events, (self.now + round(delay * MICROSECONDS), self._scheduled, action))

    def spawn(self, name: str, function: Callable[[], object]) -> Task:
        """Start a task."""
        task = Task(self, name, function)
        self.tasks[task] = None
        self.at(0, partial(self.resume, task))
        return task

    def sleep(self, seconds: float) -> None:
        """Let the current task wait."""
        self.at(seconds, partial(self.resume, self.task))
        self.park()

    def park(self) -> None:
        """Let the current task wait until something resumes it."""
        task = self.task
        if task.dead:
            raise Killed
        self.current = None
        self.hub.switch()
        self.current = task
        if task.dead:
            raise Killed

    def resume(self, task: Task) -> None:
        """Continue a task that waits. Only events call this."""
        if not task.dead and not task.done.is_set:
            self.current = task
            task.greenlet.switch()
            self.current = None

    @property
    def task(self) -> Task:
        """The task that runs."""
        assert self.current is not None, "only a task can wait"
        return self.current

    def run(self, seconds: float) -> None:
        """Run all events of the next `seconds`. Raises the first error of a task."""
        self._until = self.now + round(seconds * MICROSECONDS)
        self._run()

    def close(self) -> None:
        """End all tasks."""
        self._events.clear()
        self._until = self.now
        for task in list(self.tasks):
            self.at(0, task.end)
        self._run()
        # The garbage collector does not see what a suspended greenlet refers to.
        self.hub.throw()

    def _run(self) -> None:
        self._outside = getcurrent()
        self.hub.switch()
        if self.failed:
            error = self.failed.pop(0).error
            assert error is not None
            raise error

    def _loop(self) -> None:
        events, next_event = self._events, heapq.heappop
        while True:
            while not self.failed and events and events[0][0] <= self._until:
                self.now, _, action = next_event(events)
                action()
                self._left -= 1
                if self._left == 0:
                    self.spawn("events", self._stall)
            if not self.failed:
                self.now = self._until
            self._outside.switch()

    def _stall(self) -> None:
        raise StalledError("the run takes too many events")


class Signal:
    """Something that happens once, for which tasks can wait."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.is_set = False
        self._scheduler = scheduler
        self._waiting: list[Task] = []

    def set(self) -> None:
        """Resume all tasks that wait."""
        self.is_set = True
        for task in self._waiting:
            self._scheduler.at(0, partial(self._scheduler.resume, task))
        self._waiting.clear()

    def wait(self) -> None:
        """Let the current task wait until the signal is set."""
        while not self.is_set:
            self._waiting.append(self._scheduler.task)
            self._scheduler.park()


class SimulatedFuture(Future[T]):
    """A future whose result a task waits for without blocking the thread."""

    def __init__(self, ended: Signal) -> None:
        super().__init__()
        self._ended = ended

    def result(self, timeout: float | None = None) -> T:
        """Return the result, or raise the error of the call."""
        self._ended.wait()
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error of the call."""
        self._ended.wait()
        return super().exception(0)


class SimulatedExecutor(Executor):
    """Runs each call as a task, at most `workers` at a time. `spawn` starts a task of the process."""

    def __init__(self, scheduler: Scheduler, workers: int, spawn: Callable[[Callable[[], object]], Task]) -> None:
        self._scheduler = scheduler
        self._free = workers
        self._spawn = spawn
        self._queue: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Start a call, as soon as a worker is free."""
        ended = Signal(self._scheduler)
        future: SimulatedFuture[Any] = SimulatedFuture(ended)

        def call() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Killed:
                raise
            except BaseException as error:  # noqa: BLE001 - as the executors of the standard library
                future.set_exception(error)
            ended.set()
            self._free += 1
            if self._queue:
                self._start(self._queue.pop(0))

        if self._free:
            self._start(call)
        else:
            self._queue.append(call)
        return future

    def _start(self, call: Callable[[], None]) -> None:
        self._free -= 1
        self._spawn(call)


def threads(scheduler: Scheduler, spawn: Callable[[Callable[[], object]], Task]) -> Callable[[int, str], Any]:
    """Return what makes the thread pools of a process."""
    return lambda workers, _name: cast("Any", SimulatedExecutor(scheduler, workers, spawn))

"""Run the checks in parallel, within a time limit, and collect their findings."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from healthcare_dr.ops.verify.check import Check, Finding, Problem, Verification
from healthcare_dr.ops.verify.live_target import LiveTarget, UnansweredError

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


AT_ONCE: Final = 12
LIMIT_SECONDS: Final = 60.0
SEVERITIES: Final = ("failure", "unknown", "draining", "note")


def _reached(live: LiveTarget, region: str) -> Iterator[str]:
    account = live.reach(region)
    if account not in (None, live.deployed.account):
        yield f"these credentials belong to account {account}, but {live.deployed.account} is deployed to"


REACHABLE: Final = Check(
    name="reachable",
    asks="The region's AWS APIs answer, for the account that was deployed to",
    why="A region that cannot be reached cannot take over traffic.",
    numbers=("C1",),
    mend="check the network, the credentials and the AWS Health Dashboard, then run `hdr verify` again",
    each_region=True,
    serves=True,
    examine=_reached,
)

Told = Callable[[int, int, str], None]
"""How many questions are answered, of how many, and the newest of them."""


@dataclass(frozen=True)
class CheckRun:
    """A check, put for one region."""

    check: Check
    region: str

    def answer(self, live: LiveTarget) -> Iterator[Finding]:
        """Yield the findings, until a request fails."""
        try:
            for problem in self.check.examine(live, self.region):
                yield self.finding(problem if isinstance(problem, Problem) else Problem(problem))
        except UnansweredError as error:
            yield self.unknown(str(error), error.service)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            yield self.unknown(f"the answer makes no sense: {type(error).__name__}: {error}", None)

    def unknown(self, told: str, service: str | None) -> Finding:
        """Return the finding that the result is unknown, with the service that did not respond."""
        return replace(self.finding(Problem(told, "unknown")), service=service)

    def finding(self, problem: Problem) -> Finding:
        """A finding of this check in this region."""
        return Finding(
            check=self.check.name,
            severity=problem.severity,
            region=self.region if self.check.each_region else None,
            problem=problem.text,
            why=self.check.why,
            numbers=self.check.numbers,
            mend=self.check.mend,
        )


def verify(
    live: LiveTarget,
    checks: Sequence[Check],
    *,
    regions: Sequence[str] | None = None,
    limit_seconds: float = LIMIT_SECONDS,
    told: Told | None = None,
) -> Verification:
    """Make all checks for both regions or for those given. A check without a result within the limit is unknown.

    Checks between the regions, and whether regions respond, are always made for both.
    """
    began = time.monotonic()
    deadline, both = began + limit_seconds, live.settings.regions
    found = _side_by_side(live, [CheckRun(REACHABLE, region) for region in both], deadline, told)
    gone = {finding.region for finding in found if finding.severity == "unknown"}
    questions = [
        CheckRun(check, region)
        for check in checks
        for region in _regions_of(check, regions or both, both)
        if region not in gone or not check.each_region
    ]
    found += _side_by_side(live, questions, deadline, told)
    return Verification(
        target=live.target.name,
        suffix=live.settings.environment_suffix,
        asked=tuple(check.name for check in (REACHABLE, *checks)),
        findings=tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))),
        seconds=round(time.monotonic() - began, 2),
    )


def _regions_of(check: Check, regions: Sequence[str], both: tuple[str, str]) -> Sequence[str]:
    if not check.each_region:
        return both[:1]
    return both if check.between else regions


def _side_by_side(live: LiveTarget, questions: Sequence[CheckRun], deadline: float, told: Told | None) -> list[Finding]:
    threads: dict[CheckRun, int] = {}
    found: dict[CheckRun, list[Finding]] = {question: [] for question in questions}

    def put(question: CheckRun) -> None:
        threads[question] = threading.get_ident()
        # One by one: what was found before nobody answered any more counts.
        for finding in question.answer(live):
            found[question].append(finding)

    running = dict(zip(submit_all(put, questions, at_once=AT_ONCE, until=deadline), questions, strict=True))
    _report_progress(running, deadline, told)
    for future, question in running.items():
        if future.done():
            future.result()
            continue
        service = live.awaited(threads[question]) if question in threads else None
        found[question].append(question.unknown(_overdue(service, begun=question in threads), service))
    return [finding for question in questions for finding in found[question]]


def _overdue(service: str | None, *, begun: bool) -> str:
    if not begun:
        return "not checked: other checks took all the time"
    return f"no answer of {service} in time" if service else "no answer in time"


def _report_progress(running: dict[Future[Any], CheckRun], deadline: float, told: Told | None) -> None:
    left: set[Future[Any]] = set(running)
    while left and (seconds := deadline - time.monotonic()) > 0:
        done, left = wait(left, timeout=seconds, return_when="FIRST_COMPLETED")
        for number, future in enumerate(done, start=len(running) - len(left) - len(done) + 1):
            if told is not None:
                told(number, len(running), running[future].check.name)

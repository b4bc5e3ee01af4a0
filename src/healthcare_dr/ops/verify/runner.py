"""Run checks concurrently within a time limit, and convert their problems into findings."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from healthcare_dr.ops.verify.check import Check, Finding, Problem, Verification
from healthcare_dr.ops.verify.live_target import LiveTarget, RequestFailedError

T = TypeVar("T")
R = TypeVar("R")
CONCURRENCY: Final = 12
LIMIT_SECONDS: Final = 60.0
SEVERITIES: Final = ("failure", "unknown", "draining", "note")
"""The order of findings in the report."""

ProgressCallback = Callable[[int, int, str], None]
"""Receives the number of completed checks, their total, and the name of the check that has just completed."""


def _reachable(live: LiveTarget, region: str) -> Iterator[str]:
    account = live.reach(region)
    if account not in (None, live.deployed.account):
        yield f"the credentials belong to account {account}, but the platform is deployed to {live.deployed.account}"


REACHABLE: Final = Check(
    name="reachable",
    expects="The region's AWS APIs respond, and the credentials belong to the account of the deployment",
    why="A region that cannot be reached cannot take over traffic.",
    numbers=("C1",),
    fix="check the network, the credentials and the AWS Health Dashboard, then run `hdr verify` again",
    each_region=True,
    gates_restore=True,
    examine=_reachable,
)
"""Runs before all other checks: a region that fails it is not checked further."""


@dataclass(frozen=True)
class CheckRun:
    """A check of one region."""

    check: Check
    region: str

    def run(self, live: LiveTarget) -> Iterator[Finding]:
        """Yield the findings, until a request fails."""
        try:
            for problem in self.check.examine(live, self.region):
                yield self._finding(problem if isinstance(problem, Problem) else Problem(problem))
        except RequestFailedError as error:
            yield self.unknown(str(error), error.service)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            yield self.unknown(f"a response has an unexpected form: {type(error).__name__}: {error}", None)

    def unknown(self, problem: str, service: str | None) -> Finding:
        """Return the finding that the result is unknown; `service` did not respond."""
        return replace(self._finding(Problem(problem, "unknown")), service=service)

    def _finding(self, problem: Problem) -> Finding:
        return Finding(
            check=self.check.name,
            severity=problem.severity,
            region=self.region if self.check.each_region else None,
            problem=problem.text,
            why=self.check.why,
            numbers=self.check.numbers,
            fix=problem.fix or self.check.fix,
        )


def verify(
    live: LiveTarget,
    checks: Sequence[Check],
    *,
    regions: Sequence[str] | None = None,
    limit_seconds: float = LIMIT_SECONDS,
    on_progress: ProgressCallback | None = None,
) -> Verification:
    """Run the checks for both regions, or for `regions`. A check without a result within the limit is unknown.

    `REACHABLE` and checks with `both_regions` always run for both regions.
    """
    began = time.monotonic()
    deadline, both = began + limit_seconds, live.settings.regions
    findings = _run_all(live, [CheckRun(REACHABLE, region) for region in both], deadline, on_progress)
    unreachable = {finding.region for finding in findings if finding.severity == "unknown"}
    runs = [
        CheckRun(check, region)
        for check in checks
        for region in _regions_of(check, regions or both, both)
        if region not in unreachable or not check.each_region
    ]
    findings += _run_all(live, runs, deadline, on_progress)
    return Verification(
        target=live.target.name,
        suffix=live.settings.environment_suffix,
        checks=tuple(check.name for check in (REACHABLE, *checks)),
        findings=tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))),
        seconds=round(time.monotonic() - began, 2),
    )


def submit_all(
    function: Callable[[T], R], arguments: Sequence[T], *, concurrency: int, until: float = math.inf
) -> list[Future[R]]:
    """Call a function for each argument in daemon threads, and return the futures in the order of the arguments.

    No call starts after `until`, in seconds of the monotonic clock. ThreadPoolExecutor is not used because the
    interpreter waits for its threads: a socket without a response would keep the command from exiting.
    """
    futures = [Future[R]() for _ in arguments]
    pending: queue.SimpleQueue[tuple[T, Future[R]]] = queue.SimpleQueue()
    for pair in zip(arguments, futures, strict=True):
        pending.put(pair)

    def work() -> None:
        while time.monotonic() < until:
            try:
                argument, future = pending.get_nowait()
            except queue.Empty:
                return
            try:
                future.set_result(function(argument))
            except BaseException as error:  # noqa: BLE001 - Future.result raises it in the caller's thread
                future.set_exception(error)

    for _ in range(min(concurrency, len(arguments))):
        threading.Thread(target=work, daemon=True).start()
    return futures


def _regions_of(check: Check, regions: Sequence[str], both: tuple[str, str]) -> Sequence[str]:
    if not check.each_region:
        return both[:1]
    return both if check.both_regions else regions


def _run_all(
    live: LiveTarget, runs: Sequence[CheckRun], deadline: float, on_progress: ProgressCallback | None
) -> list[Finding]:
    threads: dict[CheckRun, int] = {}
    findings: dict[CheckRun, list[Finding]] = {run: [] for run in runs}

    def execute(run: CheckRun) -> None:
        threads[run] = threading.get_ident()
        # Findings are added one by one, so that those before a timeout are kept.
        for finding in run.run(live):
            findings[run].append(finding)

    futures = dict(zip(submit_all(execute, runs, concurrency=CONCURRENCY, until=deadline), runs, strict=True))
    _wait(futures, deadline, on_progress)
    for future, run in futures.items():
        if future.done():
            future.result()
            continue
        service = live.pending_service(threads[run]) if run in threads else None
        findings[run].append(run.unknown(_timeout_text(service, started=run in threads), service))
    return [finding for run in runs for finding in findings[run]]


def _timeout_text(service: str | None, *, started: bool) -> str:
    if not started:
        return "not checked: other checks used all of the time limit"
    return f"{service} did not respond within the time limit" if service else "no result within the time limit"


def _wait(futures: dict[Future[Any], CheckRun], deadline: float, on_progress: ProgressCallback | None) -> None:
    pending: set[Future[Any]] = set(futures)
    while pending and (seconds := deadline - time.monotonic()) > 0:
        done, pending = wait(pending, timeout=seconds, return_when="FIRST_COMPLETED")
        for number, future in enumerate(done, start=len(futures) - len(pending) - len(done) + 1):
            if on_progress is not None:
                on_progress(number, len(futures), futures[future].check.name)

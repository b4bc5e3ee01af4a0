"""Distribute the tests of a run to its workers, by their requirements.

Tests that need a deployment are in `tests/deployed` and `tests/full/deployed`. Each of the first `MOST_DEPLOYMENTS`
workers has a deployment of its own, which takes a while, so unit tests run first. As soon as a worker's deployment is
complete, the worker runs the tests that need it. What reads the log groups of a deployment follows, then the test that
destroys one; meanwhile the other workers run the rest of the unit tests. Any further worker runs unit tests alone.

A file stays in one worker, and so does a folder whose tests share a synthesis. Workers share the tests of a file
in `APART`.
"""

import re
from collections.abc import Callable
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from support.deployments import Deployments

Start = Callable[[int, bool], Deployments]

MOST_DEPLOYMENTS: Final = 2
"""More would compete for the two cores that tests are made for."""

DEPLOYED: Final = re.compile(r"tests/(full/)?deployed/")
FROM_NOTHING: Final = "tests/deployed/test_deployment.py"
LAST: Final = ("tests/deployed/test_logs.py", "tests/deployed/test_destruction.py")
"""Tests that run after everything else that uses a deployment, in this order."""
TOGETHER: Final = ("tests/unit/ops/verify/", "tests/infra/")
"""Folders that stay in one worker, because their tests share a synthesis."""
APART: Final = ("tests/unit/test_simulation.py", "tests/full/test_simulation.py")
"""Files of which each test is a unit of its own."""
OF_ONE_DEPLOYMENT: Final = re.compile(r"\[deployment-(\d)\]$")
"""The end of the name of a test of one worker's deployment."""
MEASURES_TIME: Final = re.compile(r"tests/full/deployed/test_drill")
"""Tests that stay in one worker, so that no two drills compete for the machine."""
LONG: Final = (
    "tests/unit/emulator/",
    "tests/unit/test_simulation.py::test_no_acknowledged_write_is_lost_in_any_seed",
    "tests/full/test_simulation.py::test_no_acknowledged_write_is_lost_in_further_seeds",
    "tests/unit/ops/",
    "tests/unit/patient_api/documents/",
    "tests/deployed/test_failover.py",
    "tests/deployed/test_audit_trail.py",
    "tests/deployed/test_privileges.py",
    "tests/full/deployed/test_drills.py",
    "tests/full/deployed/test_runbooks.py",
    "tests/full/deployed/test_verify.py",
)
"""Files and folders that begin first among their kind, so that no worker still runs one alone at the end."""


def needs_a_deployment(nodeid: str) -> bool:
    """Return whether a test uses the deployment of its worker."""
    return DEPLOYED.match(nodeid) is not None


def from_nothing(nodeids: list[str]) -> bool:
    """Return whether these tests need a deployment to an empty account."""
    return any(nodeid.startswith(FROM_NOTHING) for nodeid in nodeids)


def order(nodeid: str) -> tuple[int, int]:
    """Return the position of a test, in a run without workers and among the unit tests of one with workers."""
    last = next((number for number, path in enumerate(LAST, 1) if nodeid.startswith(path)), 0)
    long = next((number for number, path in enumerate(LONG) if nodeid.startswith(path)), len(LONG))
    return last, long


def unit_of(nodeid: str) -> str:
    """Return the name of a test's unit. The tests of a unit run in one worker."""
    if nodeid.startswith(APART):
        return nodeid
    found = next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid.partition("::")[0])
    own = OF_ONE_DEPLOYMENT.search(nodeid)
    return f"{found} of deployment {own[1]}" if own else found


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
    """Gives each worker the next unit that it can run now."""

    def __init__(self, config: pytest.Config, log: Producer, *, start: Start) -> None:
        super().__init__(config, log)
        self._start = start
        self._deployments: Deployments | None = None
        self._count = 0

    def schedule(self) -> None:
        """Start the deployments, and give the workers their first units."""
        if self.collection is None:
            nodeids: list[str] = next(iter(self.registered_collections.values()))
            units = {unit_of(nodeid) for nodeid in nodeids if needs_a_deployment(nodeid)}
            if units:
                self._count = min(self.numnodes, MOST_DEPLOYMENTS, len(units))
                self._deployments = self._start(self._count, from_nothing(nodeids))
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        if node.shutting_down:
            return
        if self._next(node) is None:
            node.shutdown()
        elif self._pending_of(self.assigned_work[node]) <= 2:
            self._assign_work_unit(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        unit = self._next(node)
        if unit is None:
            node.shutdown()
            return
        # The base class takes the first unit.
        self.workqueue.move_to_end(unit, last=False)
        super()._assign_work_unit(node)

    def _next(self, node: WorkerController) -> str | None:
        """Return the next unit of a worker; None when none is left."""
        index = int(node.gateway.id.removeprefix("gw"))
        deployed: list[str] = [unit for unit in self.workqueue if needs_a_deployment(unit)]
        others: list[str] = [unit for unit in self.workqueue if unit not in deployed]
        mine = [unit for unit in deployed if self._can_run(index, unit)]
        if mine and (not others or self._ready(index)):
            return mine[0]
        if not others:
            return None
        # A worker without a deployment takes the long units: the others begin as soon as their deployment is complete.
        waits = any(self._can_run(index, unit) for unit in deployed) and self.numnodes > self._count
        return others[-1] if waits else others[0]

    def _can_run(self, index: int, unit: str) -> bool:
        workers: int = self.numnodes
        deployment = index % workers
        if deployment >= self._count:
            return False
        own = unit.rpartition(" of deployment ")[2]
        if own.isdigit():
            return int(own) == deployment
        return deployment == 0 or not MEASURES_TIME.match(unit)

    def _ready(self, index: int) -> bool:
        return self._deployments is not None and self._deployments.ready(index % int(self.numnodes))

"""Lose the primary region once, and record what clients, DNS, operators and sentinels observe.

The loss is a drill, run by `hdr drill` as an operator runs it: the primary region is unreachable, nothing is replicated
from or to it, and the control planes of Route 53, IAM and Lambda are denied. Meanwhile, threads record the DNS answers,
the reports of `hdr status`, and the alarms of the surviving region.
"""

import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from botocore.config import Config
from botocore.exceptions import ClientError

from support.drills import FAST, INCONCLUSIVE, SCALE, Journal, folders, journal_in
from support.platform import HDR, REGIONS, ROOT, Deployed
from support.sentinels import Messages, age_heartbeat, in_alarm, subscribed, watch
from support.traffic import healthy_regions, regions_in_dns, reported_health

PRIMARY, SECONDARY = REGIONS
Seen = TypeVar("Seen")
FAULT: Final = "fault: blackhole"
# In real time. At ten times the speed, the region is lost for 45 s, which is several times what observers need.
LOST_SECONDS: Final = 450
RATE: Final = "6"
"""Requests per second. More would show no more, and unit tests run at the same time."""
EXPERIMENT: Final = f"""
title: The primary region is lost for a while
description: Nothing reaches it, and nothing is replicated from or to it.
method:
  - {{fault: disconnected, region: primary, for: {LOST_SECONDS}}}
  - {{fault: blackhole, region: primary, for: {LOST_SECONDS}}}
expect: failover
watch_seconds: {LOST_SECONDS + 300}
"""
RAISED: Final = {"peer-unhealthy", "peer-heartbeat-age", "peer-at-risk"}
"""Alarms that the surviving region's sentinel raises."""
WITHDRAWN: Final = {f"endpoint-check-{PRIMARY}", f"health-check-{PRIMARY}"}
"""Alarms on metrics of Route 53, which are in us-east-1 for both regions."""


@dataclass(frozen=True)
class Loss:
    """The last observations of each kind while the region was lost."""

    journal: Journal
    named: set[str]
    """The regions that DNS answered with."""
    healthy: set[str]
    """The regions whose health check was healthy."""
    status: dict[str, bool]
    """By region, whether `hdr status` reported it as healthy."""
    control_plane: str
    """The error of a call to Route 53's control plane."""
    alarms: set[str]
    """The alarms in ALARM in the surviving region."""
    messages: dict[str, set[tuple[str, str]]]
    """By region, the alarms and states that its topic had delivered."""
    queues: dict[str, Messages]
    """The queues, which still receive messages."""


class Observers:
    """Observers that record until the loss is visible, or until it ends."""

    def __init__(self, deployed: Deployed, queues: dict[str, Messages]) -> None:
        self._deployed = deployed
        self._queues = queues
        self._over = threading.Event()

    def end(self) -> None:
        """Make all observers return their last observations."""
        self._over.set()

    def traffic(self) -> dict[str, Any]:
        """Observe DNS, and after its change health checks, status and the control plane."""
        names = self._until(lambda: regions_in_dns(self._deployed), lambda names: names == {SECONDARY})
        return {
            "named": names,
            "healthy": healthy_regions(self._deployed),
            "control_plane": self._refusal(),
            "status": reported_health(self._deployed),
        }

    def alarms(self) -> dict[str, Any]:
        """Observe the surviving region's alarms after rounds of its sentinel, and the delivered messages."""
        # The alarm needs a heartbeat that is ten minutes old.
        age_heartbeat(self._deployed, PRIMARY, at=SECONDARY, seconds=600)

        def look() -> set[str]:
            watch(self._deployed, SECONDARY)
            return in_alarm(self._deployed, SECONDARY)

        raised = self._until(look, lambda alarms: alarms >= RAISED)
        messages = self._until(self._received, self._all_delivered)
        return {"alarms": raised, "messages": messages}

    def _received(self) -> dict[str, set[tuple[str, str]]]:
        return {region: queue.seen() for region, queue in self._queues.items()}

    def _all_delivered(self, messages: dict[str, set[tuple[str, str]]]) -> bool:
        return messages[SECONDARY] >= states(RAISED, "ALARM") and messages["us-east-1"] >= states(WITHDRAWN, "ALARM")

    def _refusal(self) -> str:
        route53 = self._deployed.client("route53", config=Config(retries={"total_max_attempts": 1}))
        try:
            route53.list_hosted_zones()
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    def _until(self, look: Callable[[], Seen], enough: Callable[[Seen], bool]) -> Seen:
        while not enough(found := look()) and not self._over.wait(0.2):
            pass
        return found


def states(alarms: set[str], state: str) -> set[tuple[str, str]]:
    """Return pairs of each alarm and the state."""
    return {(alarm, state) for alarm in alarms}


@contextmanager
def lost(deployed: Deployed, folder: Path) -> Iterator[Loss]:
    """Run the drill and record it. In the block, time still runs ten times as fast and the queues still receive."""
    experiment = folder / "region-lost.yaml"
    experiment.write_text(EXPERIMENT, encoding="utf-8")
    deployed.settle_conflicts()
    try:
        # Alarms of an earlier test end sooner.
        deployed.emulator.set_time_scale(SCALE)
        with subscribed(deployed) as queues:
            found = _recorded(deployed, str(experiment), queues)
            if found["journal"]["outcome"] == INCONCLUSIVE:
                found = _recorded(deployed, str(experiment), queues)
            deployed.emulator.set_time_scale(SCALE)
            yield Loss(**found, queues=queues)
    finally:
        deployed.hdr("drill", "heal")
        deployed.restore()


def _recorded(deployed: Deployed, experiment: str, queues: dict[str, Messages]) -> dict[str, Any]:
    before = folders(deployed)
    observers = Observers(deployed, queues)
    futures: list[Future[dict[str, Any]]] = []
    lines: list[str] = []
    with (
        ThreadPoolExecutor() as pool,
        subprocess.Popen(
            [HDR, "drill", experiment, *FAST, "--rate", RATE],
            cwd=ROOT,
            env=deployed.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                if line.startswith(FAULT):
                    futures = [pool.submit(observers.traffic), pool.submit(observers.alarms)]
                elif line.startswith("undo:"):
                    observers.end()
        finally:
            observers.end()
        process.wait()
        found: dict[str, Any] = {"journal": journal_in(deployed, before, output="".join(lines))}
        if futures:
            for future in futures:
                found |= future.result()
        else:
            found |= {
                "named": set(),
                "healthy": set(),
                "status": {},
                "control_plane": "",
                "alarms": set(),
                "messages": {},
            }
    return found


def back(deployed: Deployed, queues: dict[str, Messages]) -> bool:
    """Return whether DNS, alarms and messages show that the region has returned."""
    if regions_in_dns(deployed) != set(REGIONS) or any(in_alarm(deployed, region) for region in REGIONS):
        return False
    return ("peer-unhealthy", "OK") in queues[SECONDARY].seen() and (f"health-check-{PRIMARY}", "OK") in queues[
        "us-east-1"
    ].seen()

"""A platform that a benchmark deploys for itself; the duration of `hdr up` and the recovery time of a drill on it."""

import json
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.model import Aim, Measurement, Say, Series
from bench.ports import free_port
from bench.running import BenchError, Finished, run, scratch_folder

HDR = Path(sys.executable).with_name("hdr")
AGAIN = 3
EXPERIMENT = "region-refused"
COMPLETED = (0, 1)
"""Exit codes of a drill that ran to its end: every promise kept, or one broken."""


@dataclass(frozen=True)
class Deployed:
    """A platform whose home is in `folder`, where no `.env` is. The caller's settings do not affect it."""

    folder: Path
    suffix = "bench"

    @property
    def home(self) -> Path:
        """The HDR_HOME of the platform."""
        return self.folder / "home"

    @property
    def port(self) -> int:
        """The first port of the embedded AWS."""
        file = self.folder / "port"
        if not file.exists():
            file.write_text(str(free_port()), encoding="utf-8")
        return int(file.read_text(encoding="utf-8"))

    def hdr(self, *arguments: str, codes: Collection[int] = (0,)) -> Finished:
        """Run an `hdr` command on the platform. Raises BenchError when the exit code is not one of `codes`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HDR_", "AWS_"))}
        environment = kept | {
            "HDR_HOME": str(self.home),
            "HDR_EMULATOR_PORT": str(self.port),
            "ENVIRONMENT_SUFFIX": self.suffix,
        }
        return run([HDR, *arguments], environment=environment, folder=self.folder, codes=codes)


@contextmanager
def deployed() -> Iterator[Deployed]:
    """Deploy a platform for the duration of the block."""
    with scratch_folder() as scratch:
        platform = Deployed(scratch)
        try:
            platform.hdr("up")
            yield platform
        finally:
            platform.hdr("down", "--keep")


def measure_up(say: Say) -> list[Measurement]:
    """Run `hdr up` from nothing and with everything in place."""
    with scratch_folder() as scratch:
        platform = Deployed(scratch)
        try:
            say("up: from nothing, about two minutes")
            first = platform.hdr("up").seconds
            again = []
            for number in range(1, AGAIN + 1):
                say(f"up: again, {number} of {AGAIN}")
                again.append(platform.hdr("up").seconds)
        finally:
            say("up: down again, about two minutes")
            platform.hdr("down")
    return up_measurements(first, again)


def up_measurements(first: float, again: list[float]) -> list[Measurement]:
    """Compare both durations in seconds with each other; each has its own aim."""
    from_nothing = Series("hdr up, from nothing", (first,))
    in_place = Series("hdr up, everything in place", tuple(again))
    return [
        Measurement(
            name="up",
            unit="s",
            measured=in_place,
            reference=from_nothing,
            aim=Aim("measured", "most", 20.0),
            embedded=True,
            note="Start of the embedded AWS, three stacks by Terraform, and the check that a record crosses regions.",
        ),
        Measurement(
            name="up-first",
            unit="s",
            measured=from_nothing,
            reference=in_place,
            aim=Aim("measured", "most", 100.0),
            embedded=True,
            note="Mostly the provider's waits: 12 s for a key, 5 s for each function in turn, then 30 s for the zone "
            "and 30 s for its records.",
        ),
    ]


def measure_drill(say: Say) -> list[Measurement]:
    """Run one drill in real time."""
    say("drill: deploying, about three minutes")
    with deployed() as platform:
        say(f"drill: {EXPERIMENT}, in real time, about three minutes")
        platform.hdr("drill", EXPERIMENT, "--json", codes=COMPLETED)
        return [drill_measurement(journal_under(platform.home / "drills"))]


def journal_under(folder: Path) -> dict[str, Any]:
    """Return the journal in a folder of drills. Raises BenchError unless there is exactly one."""
    found = sorted(folder.glob("*/journal.json"))
    if len(found) != 1:
        raise BenchError(f"the drill left {len(found)} journals under {folder}, not one")
    journal: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    return journal


def drill_measurement(journal: dict[str, Any]) -> Measurement:
    """Compare the recovery time of a drill with the minimum that its settings imply.

    Raises:
        BenchError: the drill measured no recovery, or not in real time.
    """
    milestones, settings = journal["milestones"] or {}, journal["settings"]
    if milestones.get("rto_seconds") is None:
        raise BenchError(f"the drill measured no recovery time: {journal['outcome']}, {journal['reason']}")
    if settings["time_scale"] != 1:
        raise BenchError(f"the drill ran {settings['time_scale']:g} times faster: its times are no recovery times")
    return Measurement(
        name="recovery-time",
        unit="s",
        measured=Series(f"{EXPERIMENT}: fault to steady success", (milestones["rto_seconds"],)),
        reference=Series("threshold x interval + TTL", (journal["floor_seconds"],)),
        aim=Aim("ratio", "most", 1.3),
        embedded=journal["label"] == "embedded",
        note="One drill in real time, as its clients saw it. The reference applies to a client that resolved the name "
        "just before the last check failed; a single drill may take less.",
    )

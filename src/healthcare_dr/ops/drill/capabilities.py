"""The faults that each target can inject, and the limits that a journal must state."""

from collections.abc import Mapping, Sequence
from typing import Final

from healthcare_dr.errors import SettingsError
from healthcare_dr.infra.fault_injection import MINUTES
from healthcare_dr.ops.drill.experiment import Experiment

PLAYABLE_ON_AWS: Final = ("throttled", "denied", "drained", "replication-paused", "disconnected")
PLAYED_BY_FIS: Final = ("replication-paused", "disconnected")
UNPLAYABLE_ON_AWS: Final[Mapping[str, str]] = {
    "control-planes": "on AWS nobody can refuse the control planes of Route 53, IAM and Lambda to others; that "
    "recovery needs none of them is shown on the embedded AWS"
}
"""What is left out on AWS without refusing the experiment, and why."""
LIMITS_ON_AWS: Final[Mapping[str, str]] = {
    "replication-paused": "FIS may let tables replicate for up to 5 minutes after the pause began, and documents that "
    "were there before for up to an hour",
    "disconnected": "FIS blocks what leaves the VPC, and pauses replication with the same delay as replication-paused; "
    "functions run outside the VPC and are cut off from the peer's documents by its role",
    "denied": "IAM needs some seconds until a policy holds everywhere",
}


def refuse_unplayable(experiment: Experiment, target: str, *, time_scale: float = 1.0) -> None:
    """Reject an experiment that `target` (`aws` or `embedded`) cannot run, before any fault is applied.

    Raises:
        SettingsError: one line with the unsupported part and the supported ones.
    """
    if target == "embedded":
        return
    if time_scale != 1:
        raise SettingsError("--time-scale is for the embedded AWS: on AWS, health checks and TTLs keep their own time")
    unplayable = {step.fault for step in experiment.method} - {*PLAYABLE_ON_AWS, *UNPLAYABLE_ON_AWS}
    if unplayable:
        raise SettingsError(
            f"AWS cannot play {_listed(sorted(unplayable))}: it can play {_listed(PLAYABLE_ON_AWS)}; play this "
            "experiment with --target embedded, or write one of these faults"
        )
    if not any(step.fault in PLAYABLE_ON_AWS for step in experiment.method):
        raise SettingsError(f"AWS can play nothing of this experiment: it can play {_listed(PLAYABLE_ON_AWS)}")
    for step in experiment.method:
        lasting = step.lasting or experiment.watch_seconds - step.at
        if step.fault in PLAYED_BY_FIS and lasting > MINUTES * 60:
            raise SettingsError(
                f"{step.fault} would last {lasting:g} s, but FIS ends it after {MINUTES * 60} s: give it a shorter "
                "`for`, or a smaller watch_seconds"
            )


def limits(experiment: Experiment, target: str) -> tuple[str, ...]:
    """Return the limits of this experiment on `target` for the journal; none on the embedded AWS."""
    if target == "embedded":
        return ()
    faults = dict.fromkeys(step.fault for step in experiment.steps())
    return (
        *(f"not played: {name}: {why}" for name, why in UNPLAYABLE_ON_AWS.items() if name in faults),
        *(f"{name}: {LIMITS_ON_AWS[name]}" for name in faults if name in LIMITS_ON_AWS),
    )


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last

"""The faults that each target can inject, and the limits that a journal must state."""

from collections.abc import Sequence
from typing import Final

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill.experiment import Experiment
from healthcare_dr.ops.drill.faults import FAULTS

SUPPORTED_ON_AWS: Final = tuple(name for name, fault in FAULTS.items() if "aws" in fault.targets)
OMITTED_ON_AWS: Final = {name: fault.omitted_on_aws for name, fault in FAULTS.items() if fault.omitted_on_aws}
"""The faults that are omitted on AWS without rejecting the experiment, and why."""


def require_supported(experiment: Experiment, target: str, *, time_scale: float = 1.0) -> None:
    """Reject an experiment that `target` (`aws` or `embedded`) cannot run, before any fault is applied.

    Raises:
        SettingsError: one line with the unsupported part and the supported ones.
    """
    if target == "embedded":
        return
    if time_scale != 1:
        raise SettingsError("--time-scale is for the embedded AWS: on AWS, health checks and TTLs keep their own time")
    unsupported = {step.fault for step in experiment.method} - {*SUPPORTED_ON_AWS, *OMITTED_ON_AWS}
    if unsupported:
        raise SettingsError(
            f"AWS cannot run {_listed(sorted(unsupported))}: it can run {_listed(SUPPORTED_ON_AWS)}; run this "
            "experiment with --target embedded, or write one of these faults"
        )
    if not any(step.fault in SUPPORTED_ON_AWS for step in experiment.method):
        raise SettingsError(f"AWS can run nothing of this experiment: it can run {_listed(SUPPORTED_ON_AWS)}")
    for step in experiment.method:
        lasting, longest = step.lasting or experiment.watch_seconds - step.at, FAULTS[step.fault].longest_seconds_on_aws
        if longest is not None and lasting > longest:
            raise SettingsError(
                f"{step.fault} would last {lasting:g} s, but FIS ends it after {longest:g} s: give it a shorter `for`, "
                "or a smaller watch_seconds"
            )


def limits(experiment: Experiment, target: str) -> tuple[str, ...]:
    """Return the limits of this experiment on `target` for the journal; none on the embedded AWS."""
    if target == "embedded":
        return ()
    faults = dict.fromkeys(step.fault for step in experiment.steps())
    return (
        *(f"not injected: {name}: {why}" for name, why in OMITTED_ON_AWS.items() if name in faults),
        *(f"{name}: {text}" for name in faults if (text := FAULTS[name].limit_on_aws)),
    )


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last

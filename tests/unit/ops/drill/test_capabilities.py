"""Experiments that a target cannot run are rejected before any fault."""

from typing import Any

import pytest

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill.capabilities import OMITTED_ON_AWS, limits, require_supported
from healthcare_dr.ops.drill.experiment import Experiment, Step, load, shipped


def experiment(*faults: str, **given: Any) -> Experiment:
    """Return an experiment without the validation of files."""
    steps = tuple(
        Step.model_construct(**{"fault": fault, "region": "both", "at": 0.0, "lasting": None})  # type: ignore[arg-type]
        for fault in faults
    )
    return Experiment.model_construct(**{"title": "t", "method": steps, "watch_seconds": 150.0, **given})


PLAYABLE = {"api-throttled", "dependency-denied", "planned-failover", "replication-paused", "regions-disconnected"}


@pytest.mark.parametrize("name", shipped())
def test_embedded_aws_can_run_every_experiment_and_aws_some(name: str) -> None:
    require_supported(load(name), "embedded", time_scale=10)
    if name in PLAYABLE:
        require_supported(load(name), "aws")
        return
    with pytest.raises(SettingsError, match="AWS cannot run") as caught:
        require_supported(load(name), "aws")
    assert "throttled, denied, drained, replication-paused and disconnected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fault_that_aws_cannot_inject_is_named() -> None:
    with pytest.raises(SettingsError, match="AWS cannot run blackhole, refused and slow: it can run"):
        require_supported(experiment("slow", "throttled", "refused", "control-planes", "blackhole"), "aws")


def test_denied_control_planes_are_omitted_on_aws_and_in_the_limits() -> None:
    played = experiment("control-planes", "throttled")
    require_supported(played, "aws")
    assert limits(played, "aws") == (f"not injected: control-planes: {OMITTED_ON_AWS['control-planes']}",)
    assert limits(played, "embedded") == ()
    assert limits(load("api-throttled"), "aws") == limits(played, "aws")
    assert limits(experiment("throttled", static_stability=False), "aws") == ()
    with pytest.raises(SettingsError, match="AWS can run nothing of this experiment"):
        require_supported(experiment("control-planes"), "aws")


def test_limits_contain_those_of_each_fault_once() -> None:
    said = limits(experiment("replication-paused", "denied", "denied"), "aws")
    assert [line.partition(":")[0] for line in said] == ["not injected", "replication-paused", "denied"]


def test_time_scale_on_aws_is_rejected() -> None:
    with pytest.raises(SettingsError, match="--time-scale is for the embedded AWS"):
        require_supported(experiment("throttled"), "aws", time_scale=10)


@pytest.mark.parametrize("fault", ["replication-paused", "disconnected"])
def test_fault_longer_than_fis_allows_is_rejected(fault: str) -> None:
    require_supported(experiment(fault, watch_seconds=1800.0), "aws")
    with pytest.raises(SettingsError, match=f"{fault} would last 1801 s, but FIS ends it after 1800 s"):
        require_supported(experiment(fault, watch_seconds=1801.0), "aws")
    require_supported(experiment("throttled", watch_seconds=3600.0), "aws")

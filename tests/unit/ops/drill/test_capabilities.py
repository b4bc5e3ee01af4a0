"""What a target cannot play is refused before anything is broken, with what it can."""

from typing import Any

import pytest

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill.capabilities import OMITTED_ON_AWS, limits, refuse_unplayable
from healthcare_dr.ops.drill.experiment import Experiment, Step, load, shipped


def experiment(*faults: str, **given: Any) -> Experiment:
    """Without validation: this is about what targets can play, not about what a file may say."""
    steps = tuple(
        Step.model_construct(**{"fault": fault, "region": "both", "at": 0.0, "lasting": None})  # type: ignore[arg-type]
        for fault in faults
    )
    return Experiment.model_construct(**{"title": "t", "method": steps, "watch_seconds": 150.0, **given})


PLAYABLE = {"api-throttled", "dependency-denied", "planned-failover", "replication-paused", "regions-disconnected"}


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_experiment_is_for_the_embedded_aws_and_some_are_for_aws(name: str) -> None:
    refuse_unplayable(load(name), "embedded", time_scale=10)
    if name in PLAYABLE:
        refuse_unplayable(load(name), "aws")
        return
    with pytest.raises(SettingsError, match="AWS cannot play") as caught:
        refuse_unplayable(load(name), "aws")
    assert "throttled, denied, drained, replication-paused and disconnected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_aws_cannot_play_is_named() -> None:
    with pytest.raises(SettingsError, match="AWS cannot play blackhole, refused and slow: it can play"):
        refuse_unplayable(experiment("slow", "throttled", "refused", "control-planes", "blackhole"), "aws")


def test_control_planes_are_left_out_on_aws_and_the_journal_says_so() -> None:
    played = experiment("control-planes", "throttled")
    refuse_unplayable(played, "aws")
    assert limits(played, "aws") == (f"not played: control-planes: {OMITTED_ON_AWS['control-planes']}",)
    assert limits(played, "embedded") == ()
    assert limits(load("api-throttled"), "aws") == limits(played, "aws")
    assert limits(experiment("throttled", static_stability=False), "aws") == ()
    with pytest.raises(SettingsError, match="AWS can play nothing of this experiment"):
        refuse_unplayable(experiment("control-planes"), "aws")


def test_the_journal_says_how_late_a_pause_takes_hold() -> None:
    said = limits(experiment("replication-paused", "denied", "denied"), "aws")
    assert [line.partition(":")[0] for line in said] == ["not played", "replication-paused", "denied"]


def test_time_is_real_on_aws() -> None:
    with pytest.raises(SettingsError, match="--time-scale is for the embedded AWS"):
        refuse_unplayable(experiment("throttled"), "aws", time_scale=10)


@pytest.mark.parametrize("fault", ["replication-paused", "disconnected"])
def test_nothing_is_to_last_longer_than_fis_lets_it(fault: str) -> None:
    refuse_unplayable(experiment(fault, watch_seconds=1800.0), "aws")
    with pytest.raises(SettingsError, match=f"{fault} would last 1801 s, but FIS ends it after 1800 s"):
        refuse_unplayable(experiment(fault, watch_seconds=1801.0), "aws")
    refuse_unplayable(experiment("throttled", watch_seconds=3600.0), "aws")

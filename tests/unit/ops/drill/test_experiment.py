"""Experiments as YAML: those of the platform, and the errors of invalid ones."""

import json
from pathlib import Path

import pytest
import yaml

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill import experiment

NAMES = (
    "api-throttled", "both-lost", "clock-ahead", "dependency-denied", "flapping", "paused-then-lost", "peer-lost",
    "planned-failover", "region-blackhole", "region-errors", "region-isolated", "region-refused", "region-slow",
    "region-too-slow", "regions-disconnected", "replication-lag", "replication-paused",
)  # fmt: skip
GOOD = "title: t\ndescription: d\nexpect: failover\nmethod: [{fault: refused, region: primary}]\n"


def refused(tmp_path: Path, text: str) -> str:
    """Return the error of an experiment."""
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        experiment.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "mine.yaml" in message
    return message


def test_experiments_of_the_platform() -> None:
    assert tuple(experiment.shipped()) == NAMES


@pytest.mark.requirement("R4.2")
@pytest.mark.parametrize("name", NAMES)
def test_experiment_of_the_platform_loads(name: str) -> None:
    loaded = experiment.load(name)
    assert loaded.title
    again = experiment.Experiment.model_validate(json.loads(json.dumps(loaded.document())))
    assert again.document() == loaded.document()


def test_file_is_found_by_its_path_and_has_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD, encoding="utf-8")
    loaded = experiment.load(str(tmp_path / "mine.yaml"))
    assert (loaded.lost(), loaded.counts_from().at, loaded.load.retries) == (("primary",), 0.0, 2)
    assert loaded.method[0].lasting is None


def test_lost_regions_of_the_platforms_experiments() -> None:
    lost = {name: experiment.load(name).lost() for name in NAMES}
    assert lost["both-lost"] == ("primary", "secondary")
    assert lost["peer-lost"] == ("secondary",)
    assert lost["replication-paused"] == ()
    assert experiment.load("paused-then-lost").counts_from().at == 30.0


@pytest.mark.trap(20, 24)
def test_flapping_is_shorter_than_the_threshold_of_the_checks() -> None:
    assert all(step.lasting is not None and step.lasting < 20 for step in experiment.load("flapping").method)


def test_experiments_in_which_every_request_must_succeed() -> None:
    served = {name for name in NAMES if experiment.load(name).serves()}
    assert served == {
        "planned-failover", "region-slow", "regions-disconnected", "replication-lag", "replication-paused",
    }  # fmt: skip


def test_delays_are_below_and_above_the_limits_of_health_checks() -> None:
    (slow,) = experiment.load("region-slow").method
    (too_slow,) = experiment.load("region-too-slow").method
    assert (slow.parameters["delay_seconds"]) < 2
    assert (too_slow.parameters["delay_seconds"]) > 6


@pytest.mark.trap(27)
def test_control_planes_are_denied_from_the_beginning_by_default() -> None:
    first, *_ = experiment.load("paused-then-lost").steps()
    assert (first.fault, first.at, first.lasting) == ("control-planes", 0.0, None)
    assert all(experiment.load(name).static_stability for name in NAMES)
    calm = experiment.Experiment.model_validate({**yaml.safe_load(GOOD), "static_stability": False})
    assert [step.fault for step in calm.steps()] == ["refused"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("fault: refused", "fault: eaten", "method[0].fault must be 'throttled', 'denied'"),
        ("region: primary", "region: us-east-1", "method[0].region must be 'primary', 'secondary' or 'both'"),
        (", region: primary", "", "region must be primary, secondary or both for refused"),
        ("fault: refused, region: primary", "fault: replication-lag", "lag_seconds must be given"),
        (
            "fault: refused, region: primary",
            "fault: control-planes, region: primary",
            "region must be both for control-planes",
        ),
        ("region: primary", "region: primary, tables: false", "only for replication-paused"),
        ("region: primary", "region: primary, delay_seconds: 3", "delay_seconds must be given for slow"),
        ("region: primary", "region: primary, at: -1", "method[0].at must be greater than or equal to 0"),
        ("region: primary", "region: primary, at: .nan", "method[0].at must be"),
        ("region: primary", "region: primary, for: 150", "method[0] must end before watch_seconds (150)"),
        ("region: primary", "region: primary, until: 3", "method[0].until is unknown; allowed are fault, region, at"),
        ("region: primary", "region: both", "expect must be none or outage"),
        ("expect: failover", "expect: outage", "expect must be none or failover"),
        ("expect: failover\n", "", "expect is missing"),
        ("expect: failover", "expect: drain", "expect must be drain for a method that drains one region"),
        ("fault: refused", "fault: drained", "expect must be drain for a method that drains one region"),
        ("title: t", "title: t\ntitel: t", "titel is unknown; allowed are title, description"),
        ("title: t", "title: t\nload: {clients: many}", "load.clients must be integer"),
        ("title: t", "title: t\nload: {write_percent: 60, document_percent: 50}", "at most 100 together"),
        ("title: t", "title: t\nload: {rate: 0.5}", "load.rate must be greater than or equal to 1"),
        (
            "title: t",
            "title: t\nload: {write_percent: 0}",
            "must not name replication-caught-up where write_percent is",
        ),
        ("title: t", "title: t\nload: {write_percent: 50, update_percent: 46}", "at most 100 together"),
        ("title: t", "title: [", "not YAML in line"),
        ("title: t", "title: !!python/object/apply:os.getcwd []", "not YAML in line 1"),
        ("title: t", "title: 2026-13-01", "not YAML"),
        ("title: t", "title: t\nmethod: [{fault: refused, region: secondary}]", "names method twice, again in line 5"),
        ("region: primary", "region: primary, at: 1, at: 2", "names at twice, again in line 4"),
        ("region: primary", "region: primary, at: 1:30", "method[0].at must be number"),
        ("region: primary", "region: primary, at: 1:30.5", "method[0].at must be number"),
    ],
)
def test_invalid_experiment_is_reported_in_one_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in GOOD
    assert message in refused(tmp_path, GOOD.replace(before, after))


@pytest.mark.parametrize(("written", "seconds"), [("90", 90), ("0", 0), ("1.5", 1.5), ("+7", 7), ("0x10", 16)])
def test_numbers_are_those_of_yaml(tmp_path: Path, written: str, seconds: float) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace("region: primary", f"region: primary, at: {written}"))
    assert experiment.load(tmp_path / "mine.yaml").method[0].at == seconds


@pytest.mark.parametrize("text", ["", "- a\n", "just text", "!!python/object/apply:os.getcwd []"])
def test_file_without_an_experiment_is_rejected(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text)


def test_unknown_name_is_reported_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="region-refused"):
        experiment.load("region-refuse")


def test_schema_describes_the_file() -> None:
    schema = experiment.schema()
    assert "for" in schema["$defs"]["Step"]["properties"]
    assert set(schema["required"]) == {"title", "description", "method", "expect"}
    known = set(schema["properties"])
    for path in experiment.shipped().values():
        assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) <= known

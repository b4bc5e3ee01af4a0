"""Assumptions: their sources, their ranges, and values that replace them."""

from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.slo import model
from healthcare_dr.ops.slo.assessment import assess
from healthcare_dr.ops.slo.assumptions import (
    LOSSES,
    MOST,
    SHARES,
    History,
    Input,
    Overrides,
    assignments,
    defaults,
    overrides,
)
from healthcare_dr.ops.slo.measured import LONGEST, given
from healthcare_dr.settings import load_settings

ASSUMED = defaults()


def history(*, count: int = 1, hours: float = 2, since: str = "2020-01-01", until: str = "2026-01-01") -> History:
    outages = [{"began": "2020-02-01", "hours": hours, "source": "our own log", "note": ""}] * count
    return History.model_validate({"since": since, "until": until, "note": "ours", "outages": outages})


def test_every_assumption_has_a_source() -> None:
    for promise in (*ASSUMED.promises, *ASSUMED.shared):
        assert promise.source.startswith("https://"), promise.service
        assert promise.date <= ASSUMED.history.until
    for outage in ASSUMED.history.outages:
        assert outage.source.startswith("https://")
        assert ASSUMED.history.since <= outage.began <= ASSUMED.history.until
    for name, entry in ASSUMED.inputs.items():
        known = entry.source in ("history", "unconfirmed", "the platform's settings")
        assert known or entry.source.startswith("https://"), name


def test_services_of_a_region_have_commitments() -> None:
    promised = {promise.service: promise.percent for promise in ASSUMED.promises}
    assert promised == {
        "AWS Lambda": 99.95,
        "Amazon API Gateway": 99.95,
        "Amazon DynamoDB, in one region": 99.99,
        "Amazon S3 Standard": 99.9,
        "AWS KMS": 99.999,
    }
    assert ASSUMED.promised_share == pytest.approx(0.9995 * 0.9995 * 0.9999 * 0.999 * 0.99999)


def test_outage_rate_is_the_historical_one_within_commitments() -> None:
    assert ASSUMED.value("primary_outages_per_year") == pytest.approx(ASSUMED.history.per_year, abs=0.05)
    for role in ("primary", "secondary"):
        high = ASSUMED.inputs[f"{role}_outages_per_year"].high
        assert high == pytest.approx(ASSUMED.promised_outages_per_year, abs=0.05)


def test_values_are_replaced_with_their_source() -> None:
    changed = ASSUMED.with_values({"idp_share": 0.05, "blips_per_year": 90}, source="--set")
    assert changed.inputs["idp_share"].model_dump() == {
        **ASSUMED.inputs["idp_share"].model_dump(),
        "value": 0.05,
        "low": 0.05,
        "source": "--set",
    }
    assert changed.inputs["blips_per_year"].high == 90
    assert ASSUMED.value("idp_share") == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"luck": 1.0}, "luck is no input of the arithmetic; there are primary_share, "),
        ({"idp_share": 1.1}, "idp_share=1.1 is not allowed: it must be a share from 0 to 1"),
        ({"blips_per_year": -1.0}, "blips_per_year=-1 is not allowed: it must be from 0 to 1,000"),
        ({"blips_per_year": 1001.0}, "blips_per_year=1001 is not allowed: it must be from 0 to 1,000"),
        ({"bad_change_minutes": 525_601.0}, "bad_change_minutes=525601 is not allowed: it must be from 0 to 525,600"),
        ({"blip_seconds": 1e300}, "blip_seconds=1e+300 is not allowed: it must be from 0 to 31,536,000"),
        ({"outage_length": 101.0}, "outage_length=101 is not allowed: it must be from 0 to 100"),
        ({"bad\nluck": 1.0}, "bad luck is no input of the arithmetic"),
        ({"blips_per_year": float("nan")}, "blips_per_year=nan is not allowed"),
        ({"dns_outage_minutes": float("inf")}, "dns_outage_minutes=inf is not allowed"),
    ],
)
def test_invalid_values_are_rejected(values: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ASSUMED.with_values(values, source="--set")
    assert str(caught.value).startswith(message)


def test_all_allowed_values_can_be_assessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "SWING_RUNS", 1)
    most = {name: 1.0 if name in SHARES else 1000.0 for name in ASSUMED.inputs}
    most |= {name: highest for end, highest in MOST.items() for name in most if name.endswith(end)}
    worst = ASSUMED.with_stated(Overrides(inputs=most, history=history(hours=8760)))
    found = assess(given([LONGEST], date="2026-11-24"), worst, seed=1, runs=1)
    assert found.expected_percent == 0


def test_input_must_lie_in_its_range() -> None:
    with pytest.raises(ValueError, match="must lie between"):
        Input(value=2, low=0, high=1, unit="", what="", note="", source="")


def test_assignments_are_names_with_numbers() -> None:
    assert assignments(["idp_share=0.2", " blips_per_year = 3"]) == {"idp_share": 0.2, "blips_per_year": 3}
    for wrong in ("idp_share", "idp_share=", "idp_share=much"):
        with pytest.raises(SettingsError, match="write it as name=number"):
            assignments([wrong])


def test_file_contains_inputs_and_recoveries(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "inputs: {idp_share: 0.2}\n"
        "recoveries:\n"
        "  - {seconds: 41.2, label: embedded, date: 2026-11-24, experiment: refused}\n"
        "  - {seconds: null, label: aws, date: '2026-11-25', experiment: refused, time_scale: 10}\n",
        encoding="utf-8",
    )
    found = overrides(path)
    assert found.inputs == {"idp_share": 0.2}
    assert found.recoveries is not None
    assert [(trial.seconds, trial.date, trial.time_scale) for trial in found.recoveries] == [
        (41.2, "2026-11-24", 1),
        (None, "2026-11-25", 10),
    ]
    path.write_text("{}", encoding="utf-8")
    assert overrides(path).recoveries is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inputs: [", "is not YAML"),
        ("inputs: {idp_share: 0.1, idp_share: 0.2}", "mine.yaml names idp_share twice, again in line 1"),
        ("", "mine.yaml is empty; it may contain inputs, promises, history, recoveries"),
        ("# inputs: {}", "mine.yaml is empty; it may contain"),
        ("- 1", "mine.yaml is no mapping; it may contain"),
        ('"a\\nb": 1', "a b is unknown"),
        ("inputs: {idp_share: yes}", "inputs.idp_share: Input should be a valid number"),
        ("inputs: {idp_share: '0.5'}", "inputs.idp_share: Input should be a valid number"),
        ("promises: {AWS Lambda: yes}", "promises.AWS Lambda: Input should be a valid number"),
        ("recoveries: [{seconds: yes, label: aws, date: x, experiment: y}]", "recoveries.0.seconds: "),
        ("recoveries: [{seconds: 1e300, label: aws, date: x, experiment: y}]", "recoveries.0.seconds: "),
        ("recoveries: [{seconds: 1, label: aws, date: [x], experiment: y}]", "recoveries.0.date: Input should be a"),
        (
            "recoveries: [{seconds: 1, label: aws, date: x, experiment: y, by: z}]",
            "recoveries.0.by is unknown; allowed are seconds, label, date, experiment, time_scale",
        ),
        (
            "history: {since: 2020-01-01, until: 2021-01-01, note: '', outages: [{began: 2020-02-01, hours: 1, "
            "source: '', note: ''}], by: me}",
            "history.by is unknown; allowed are since, until, note, outages",
        ),
        (
            "history: {since: 2020-01-01, until: 2021-01-01, note: '', outages: [{began: 2020-02-01, hours: 1, "
            "source: '', note: '', minutes: 3}]}",
            "history.outages.0.minutes is unknown; allowed are began, hours, source, note",
        ),
        ("inputs: {idp_share: much}", "inputs.idp_share: Input should be a valid number"),
        ("times: []", "times is unknown; allowed are inputs, promises, history, recoveries"),
        ("promises: {AWS Lambda: 101}", "promises.AWS Lambda: Input should be less than or equal to 100"),
        ("history: {since: 2020-01-01, note: '', outages: []}", "history.until: Field required"),
        ("recoveries: [{seconds: 1}]", "recoveries.0.label: Field required"),
        ("recoveries: [{seconds: .inf, label: aws, date: x, experiment: y}]", "recoveries.0.seconds: "),
    ],
)
def test_invalid_files_are_rejected_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        overrides(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"until": "2019-01-01"}, r"until \(2019-01-01\) must be after since \(2020-01-01\)"),
        ({"until": "2020-01-01"}, "must be after since"),
        ({"since": "2021-01-01"}, "the outage of 2020-02-01 must lie between since and until"),
        ({"hours": 8761}, "less than or equal to 8760"),
        ({"hours": float("inf")}, "less than or equal to 8760"),
    ],
)
def test_history_must_cover_its_outages(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        history(**changed)


@pytest.mark.parametrize(("count", "rate"), [(30, 5.0), (6, 1.0), (1, 1 / 6)])
def test_history_determines_the_rates_of_losses(count: int, rate: float) -> None:
    found = ASSUMED.with_stated(Overrides(history=history(count=count)))
    for name in LOSSES:
        entry = found.inputs[name]
        assert entry.value == pytest.approx(rate, rel=0.001)
        assert entry.low <= entry.value <= entry.high
        assert entry.source == ASSUMED.inputs[name].source


def test_stated_rate_overrides_the_history() -> None:
    stated = Overrides(inputs={"primary_outages_per_year": 0.25}, history=history(count=30))
    found = ASSUMED.with_stated(stated).with_values({"secondary_outages_per_year": 0.5}, source="--set")
    assert [(found.value(name), found.inputs[name].source) for name in LOSSES] == [(0.25, "--inputs"), (0.5, "--set")]
    assert found.history.mean_hours == 2


def test_commitments_bound_the_rates_of_losses() -> None:
    found = ASSUMED.with_stated(Overrides(promises={"AWS Lambda": 99.5}))
    for name in LOSSES:
        assert found.inputs[name].high == pytest.approx(found.promised_outages_per_year)
        assert found.value(name) == ASSUMED.value(name)
    unbounded = ASSUMED.with_stated(Overrides(promises={"AWS Lambda": 0.001}, history=history(hours=0.001)))
    assert unbounded.inputs["primary_outages_per_year"].high == MOST["_per_year"]


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        overrides(tmp_path / "none.yaml")


def test_promises_and_history_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "promises: {AWS Lambda: 99.5}\n"
        "history:\n"
        "  {since: 2024-01-01, until: 2026-01-01, note: ours, outages: [\n"
        "    {began: 2025-01-01, hours: 2, source: our own log, note: ''}]}\n",
        encoding="utf-8",
    )
    found = ASSUMED.with_stated(overrides(path))
    assert {promise.service: promise.percent for promise in found.promises}["AWS Lambda"] == 99.5
    assert found.promised_share == pytest.approx(ASSUMED.promised_share * 0.995 / 0.9995)
    assert found.history.mean_hours == 2
    assert found.history.per_year == pytest.approx(0.5, abs=0.01)
    path.write_text("promises: {AWS Batch: 99}", encoding="utf-8")
    with pytest.raises(SettingsError, match="AWS Batch is promised nothing; a region needs AWS Lambda, "):
        ASSUMED.with_stated(overrides(path))


def test_primary_share_is_that_of_the_default_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HDR_PRIMARY_WEIGHT", "HDR_SECONDARY_WEIGHT"):
        monkeypatch.delenv(name, raising=False)
    weights = load_settings()
    share = weights.primary_weight / (weights.primary_weight + weights.secondary_weight)
    assert ASSUMED.value("primary_share") == share

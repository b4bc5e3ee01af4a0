"""Recovery times, given by the operator or read from the journals of drills."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill.journal import SCHEMA, Event, Journal, Promise
from healthcare_dr.ops.slo.measured import LONGEST, RecoveryTimes, Trial, given, of_journals, of_trials
from unit.ops.slo.journals import changed, journal, left


def trial(**changed: Any) -> Trial:
    given_fields = {"seconds": 45.0, "label": "aws", "date": "2026-11-24", "experiment": "refused"}
    return Trial.model_validate(given_fields | changed)


def test_given_times_are_labelled_given() -> None:
    found = given([50, 40], date="2026-11-24")
    assert (found.recoveries, found.label) == ((40, 50), "given")
    for wrong in (-1, LONGEST + 1, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="no recovery time"):
            given([wrong], date="2026-11-24")


def test_few_failovers_prove_little() -> None:
    shares = [given([45.0] * count, date="2026-11-24").may_fail for count in (0, 1, 8, 98)]
    assert shares == [1 / 2, 1 / 3, 1 / 10, 1 / 100]
    missed = of_trials([trial(seconds=None)] * 3)
    assert missed.missed == 3
    assert missed.may_fail == missed.bound == 4 / 5


def test_without_trials_the_assumption_is_unchanged() -> None:
    assert given([], date="2026-11-24").bound == 0


def test_sped_up_drills_are_listed_with_their_experiment() -> None:
    found = of_trials([trial(), trial(time_scale=10)])
    assert list(found.recoveries) == [45]
    assert found.ignored == ("refused: ran 10 times faster: it shows that a failover happens, not how long it takes",)


def test_recoveries_are_those_of_the_journals(tmp_path: Path) -> None:
    found = of_journals(left(tmp_path, journal(rto=52), journal(rto=41.5, experiment="region-blackhole")))
    assert list(found.recoveries) == [41.5, 52]
    assert found.label == "embedded"
    assert [len(found.trials), found.missed, len(found.ignored)] == [2, 0, 0]
    assert found.trials[0].date == "2026-11-24T02:00:00Z"


def test_recovery_of_a_failed_drill_counts(tmp_path: Path) -> None:
    assert of_journals(left(tmp_path, journal(rto=400, outcome="failed"))).recoveries == (400,)


@pytest.mark.parametrize("drill", [journal(rto=None, outcome="failed"), journal(failover=False, outcome="failed")])
def test_failover_that_did_not_happen_is_a_miss(tmp_path: Path, drill: Journal) -> None:
    found = of_journals(left(tmp_path, drill, journal()))
    assert (len(found.trials), found.missed, found.recoveries) == (2, 1, (42,))


@pytest.mark.parametrize(
    ("rto", "healed", "recoveries"),
    [
        (104, 120.0, ()),
        (100, 120.0, ()),
        (99, 120.0, (99,)),
        # Journals of earlier versions have no `healed`, but an event states that the fault was undone at 65 s.
        (104, None, ()),
        (44, None, (44,)),
    ],
)
def test_service_that_came_back_with_the_region_is_a_miss(
    tmp_path: Path, rto: float, healed: float | None, recoveries: tuple[float, ...]
) -> None:
    found = of_journals(left(tmp_path, journal(rto=rto, healed=healed)))
    assert (found.recoveries, found.missed) == (recoveries, not recoveries)


def test_service_that_came_back_with_the_region_is_a_miss_in_a_journal_without_the_field(tmp_path: Path) -> None:
    assert of_journals(changed(tmp_path, drill=journal(rto=104), without=("healed",))).missed == 1


def test_undo_before_the_fault_is_not_healing(tmp_path: Path) -> None:
    events = (Event(at=1.0, kind="undo", text="left over from before: refused us-east-1"),)
    assert of_journals(left(tmp_path, journal(healed=None, events=events))).recoveries == (42,)


def test_sped_up_drill_counts_as_failover_without_time(tmp_path: Path) -> None:
    found = of_journals(left(tmp_path, journal(rto=4, time_scale=10)))
    assert found.recoveries == ()
    assert (len(found.trials), found.missed, found.label) == (1, 0, "")
    assert found.ignored == (
        "2026-11-24T00: ran 10 times faster: it shows that a failover happens, not how long it takes",
    )


@pytest.mark.parametrize(
    ("drill", "why"),
    [
        (journal(experiment="flapping"), "no failover was expected, but none"),
        (journal(experiment="both-lost"), "no failover was expected, but outage"),
        (journal(experiment="planned-failover"), "no failover was expected, but drain"),
        (
            replace(journal(outcome="failed", reason="us-west-2 cannot be asked"), milestones=None, promises=()),
            "the drill ended without a verdict: us-west-2 cannot be asked",
        ),
        (journal(outcome="not started"), "the drill ended as not started"),
        (journal(outcome="interrupted"), "the drill ended as interrupted"),
        (journal(schema=SCHEMA + 1), f"journal of schema {SCHEMA + 1}, which this version does not support"),
    ],
)
def test_drill_without_failover_is_ignored_and_listed(tmp_path: Path, drill: Journal, why: str) -> None:
    found = of_journals(left(tmp_path, drill))
    assert (found.trials, found.ignored) == ((), (f"2026-11-24T00: {why}",))


def test_missing_folder_contains_no_drill(tmp_path: Path) -> None:
    assert of_journals(tmp_path / "drills") == RecoveryTimes(trials=())


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "new"},
        {"schema": 0},
        {"schema": True},
        {"outcome": "went well"},
        {"experiment": []},
        {"experiment": {"title": "t", "expect": "luck"}},
        {"events": {}},
        {"healed": "soon"},
        {"healed": 10**400},
        {"milestones": "soon"},
        {"milestones": {"fault": 20.0, "steady_success": 30.0, "rto_seconds": -1}},
        {"milestones": {"rto_seconds": -1}},
        {"label": "home"},
        {"settings": {}},
        {"promises": [1]},
        {"promises": [{"name": "luck", "kept": True}]},
        {"promises": [{"name": "failover", "kept": "yes"}]},
    ],
)
def test_invalid_journal_is_rejected(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="no journal of a drill; move it away"):
        of_journals(changed(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [(text, "no journal of a drill") for text in ("null", "[]", "1", '"x"')]
    + [(text, "cannot be read as a journal") for text in ("", "{", "[" * 100_000, "nothing")],
)
def test_file_that_contains_no_journal_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    left(tmp_path, journal())
    next(tmp_path.glob("*/journal.json")).write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        of_journals(tmp_path)


def test_inconclusive_drill_is_ignored(tmp_path: Path) -> None:
    promises = (Promise(name="failover", limit="", measured="", kept=None),)
    drill = replace(journal(rto=None), outcome="inconclusive", promises=promises)
    found = of_journals(left(tmp_path, drill, journal()))
    assert (len(found.trials), found.missed, found.recoveries) == (1, 0, (42,))
    assert found.ignored == ("2026-11-24T00: the drill ended as inconclusive",)


def test_journal_of_the_first_schema_still_counts(tmp_path: Path) -> None:
    assert of_journals(changed(tmp_path, schema=1)).recoveries == (42,)

"""Which drills count, and for what, as their journals tell it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill.journal import SCHEMA, Event, Promise
from healthcare_dr.ops.slo.measured import RecoveryTimes, of_journals
from unit.ops.slo.journals import damaged, journal, left


def test_recoveries_are_those_of_the_journals(tmp_path: Path) -> None:
    found = of_journals(left(tmp_path, journal(rto=52), journal(rto=41.5, experiment="region-blackhole")))
    assert list(found.recoveries) == [41.5, 52]
    assert found.label == "embedded"
    assert [len(found.trials), found.missed, len(found.ignored)] == [2, 0, 0]
    assert found.trials[0].date == "2026-11-24T02:00:00Z"


def test_a_broken_promise_is_a_measurement_all_the_same(tmp_path: Path) -> None:
    assert of_journals(left(tmp_path, journal(rto=400, outcome="failed"))).recoveries == (400,)


@pytest.mark.parametrize("drill", [journal(rto=None, outcome="failed"), journal(failover=False, outcome="failed")])
def test_a_failover_that_did_not_happen_is_a_miss(tmp_path: Path, drill: object) -> None:
    found = of_journals(left(tmp_path, drill, journal()))  # type: ignore[arg-type]
    assert (len(found.trials), found.missed, found.recoveries) == (2, 1, (42,))


@pytest.mark.parametrize(
    ("rto", "healed", "recoveries"),
    [
        (104, 120.0, ()),
        (100, 120.0, ()),
        (99, 120.0, (99,)),
        # Journals of earlier versions do not say when healing began, but tell that the fault was undone at 65 s.
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
    left(tmp_path, journal(rto=104))
    path = next(tmp_path.glob("*/journal.json"))
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["healed"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert of_journals(tmp_path).missed == 1


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
def test_drill_without_failover_is_ignored_and_listed(tmp_path: Path, drill: object, why: str) -> None:
    found = of_journals(left(tmp_path, drill))  # type: ignore[arg-type]
    assert (found.trials, found.ignored) == ((), (f"2026-11-24T00: {why}",))


def test_no_folder_is_no_drill(tmp_path: Path) -> None:
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
def test_a_journal_that_is_none_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="no journal of a drill; move it away"):
        of_journals(damaged(tmp_path, **changes))


@pytest.mark.parametrize("document", [None, [], 1, "x"])
def test_json_without_journal_is_rejected(tmp_path: Path, document: object) -> None:
    left(tmp_path, journal())
    next(tmp_path.glob("*/journal.json")).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(SettingsError, match="no journal of a drill"):
        of_journals(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "nothing"])
def test_a_journal_that_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    left(tmp_path, journal())
    next(tmp_path.glob("*/journal.json")).write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be read as a journal"):
        of_journals(tmp_path)


def test_inconclusive_drill_is_no_evidence(tmp_path: Path) -> None:
    promises = (Promise(name="failover", limit="", measured="", kept=None),)
    drill = replace(journal(rto=None), outcome="inconclusive", promises=promises)
    found = of_journals(left(tmp_path, drill, journal()))
    assert (len(found.trials), found.missed, found.recoveries) == (1, 0, (42,))
    assert found.ignored == ("2026-11-24T00: the drill ended as inconclusive",)


def test_journal_of_the_first_schema_still_counts(tmp_path: Path) -> None:
    assert of_journals(damaged(tmp_path, schema=1)).recoveries == (42,)

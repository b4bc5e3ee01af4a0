"""The events of streams that a real Terraform wrote."""

from pathlib import Path

from healthcare_dr.ops.terraform.events import (
    ChangeSummary,
    Diagnostic,
    Event,
    OutputChange,
    PlannedChange,
    ResourceEvent,
    Text,
    parse,
)
from healthcare_dr.ops.terraform.runner import resource_events

STREAMS = Path(__file__).parent / "streams"


def recorded(name: str) -> list[Event]:
    lines = (STREAMS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for line in lines if (event := parse(line)) is not None]


def test_a_plan_names_every_resource_the_numbers_and_the_outputs() -> None:
    events = recorded("plan")
    assert {event.address for event in events if isinstance(event, PlannedChange)} == {
        "terraform_data.a",
        "terraform_data.c",
        "terraform_data.slow",
    }
    assert ChangeSummary(add=3, change=0, remove=0) in events
    assert (OutputChange(name="o", action="create"), OutputChange(name="s", action="create")) in events


def test_apply_reports_each_resource() -> None:
    events = [event for event in recorded("mixed_apply") if isinstance(event, ResourceEvent)]
    phases = [(event.address.removeprefix("terraform_data."), event.action, event.phase) for event in events]
    assert ("replaced", "delete", "complete") in phases
    assert ("replaced", "create", "progress") in phases
    assert ("replaced", "create", "complete") in phases
    assert ("changed", "update", "complete") in phases
    assert ("gone", "delete", "complete") in phases
    waited = [event.seconds for event in events if event.phase == "progress"]
    assert waited
    assert max(waited) >= 10


def test_the_number_of_completions_is_the_sum_of_the_plan() -> None:
    events = recorded("mixed_apply")
    planned = next(event for event in events if isinstance(event, ChangeSummary))
    seen: list[ResourceEvent] = []
    listen = resource_events(seen.append)
    for event in events:
        listen(event)
    completions = [event for event in seen if event.phase == "complete"]
    assert len(completions) == planned.add + planned.change + planned.remove == 4


def test_interrupted_apply_reports_failures() -> None:
    events = recorded("interrupted_apply")
    assert any(
        isinstance(event, ResourceEvent) and (event.address, event.phase) == ("terraform_data.slow", "errored")
        for event in events
    )
    errors = [event for event in events if isinstance(event, Diagnostic)]
    assert errors[0].address == "terraform_data.slow"
    assert "execution halted" in {error.summary for error in errors}


def test_a_held_lock_is_waited_for_and_then_an_error() -> None:
    events = recorded("locked_plan")
    assert any(isinstance(event, Diagnostic) and "state lock" in event.summary for event in events)


def test_unknown_lines_are_kept_and_empty_ones_dropped() -> None:
    assert parse("panic: runtime error\n") == Text("panic: runtime error")
    assert parse("[1, 2]") == Text("[1, 2]")
    assert parse("\n") is None
    assert parse('{"type": "version", "terraform": "1.11.4"}') is None
    assert parse('{"type": "something_new"}') is None

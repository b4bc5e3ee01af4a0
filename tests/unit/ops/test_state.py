"""Read states as Terraform writes them, and the resources in them."""

import json

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import PRIMARY
from healthcare_dr.ops.terraform.state import StackState, read_settled, read_state
from unit.ops.verify.fakes import ACCOUNT, EAST, WEST, deployed, resource


def test_state_counts_managed_resources() -> None:
    raw = {
        "version": 4,
        "outputs": {"o": {"value": 1, "type": "number"}},
        "resources": [
            {"mode": "managed", "instances": [{}, {}]},
            {"mode": "data", "instances": [{}]},
        ],
    }
    assert read_state(PRIMARY, json.dumps(raw).encode()) == StackState(resources=2, outputs={"o": 1})
    assert read_state(PRIMARY, None) == StackState()
    assert read_state(PRIMARY, b'{"version": 4, "resources": null, "outputs": null}') == StackState()


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"{", "is damaged"),
        (b"[]", "is damaged"),
        (b'{"version": 4, "resources": [1]}', "is damaged"),
        (b"\xff", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b'{"version": 3}', "format 3"),
        (b'{"version": 5}', "format 5, but only 4 is known here: a newer Terraform wrote it, so use a newer version"),
    ],
)
def test_unreadable_state_prints_one_line(raw: bytes, line: str) -> None:
    with pytest.raises(DeploymentError, match=f"the state of {PRIMARY} .*{line}"):
        read_state(PRIMARY, raw)


def test_state_that_is_being_written_is_read_again() -> None:
    whole = b'{"version": 4, "resources": [{"mode": "managed", "instances": [{}]}]}'
    answers = iter([b"", whole[:20], whole])
    assert read_settled(PRIMARY, lambda: next(answers)).resources == 1


def test_damaged_state_is_reported_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healthcare_dr.ops.terraform.state.PATIENCE_SECONDS", 0.2)
    with pytest.raises(DeploymentError, match="is damaged, or another command is writing it"):
        read_settled(PRIMARY, lambda: b"{")
    assert read_settled(PRIMARY, lambda: b"") == StackState()


def test_each_resource_is_in_the_region_of_its_provider() -> None:
    held = deployed(
        primary=[resource("aws_sns_topic", "a")],
        secondary=[resource("aws_sns_topic", "b")],
        common=[resource("aws_sns_topic", "c"), resource("aws_sns_topic", "d", alias="secondary")],
    )
    assert [found.name for found in held.of("aws_sns_topic", EAST)] == ["a", "c"]
    assert [found.name for found in held.of("aws_sns_topic", WEST)] == ["b", "d"]
    assert len(held.of("aws_sns_topic")) == 4
    assert held.of("aws_kms_key") == []


def test_data_sources_are_not_deployed_resources() -> None:
    held = deployed(primary=[resource("aws_kms_alias", "a") | {"mode": "data"}])
    assert held.all == ()


def test_account_and_outputs_are_read() -> None:
    assert deployed().account == ACCOUNT
    assert deployed().output(WEST, "api_id") == f"api-{WEST}"
    assert deployed().output(WEST, "nothing") == ""
    assert deployed().outputs()["zone_id"] == "Z1"

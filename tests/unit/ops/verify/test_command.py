"""`hdr verify` before it asks: what it needs, and whom it refuses."""

from typing import Any, cast

import pytest
from botocore.exceptions import ConnectTimeoutError

from healthcare_dr.cli.verify import _preflight
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.ports import Target
from healthcare_dr.ops.verify.live_target import open_live_target
from healthcare_dr.settings import Settings
from unit.ops.fakes import RecordingProgress
from unit.ops.verify.fakes import EAST, deployed, resource


class Refusing:
    """A target whose preflight fails, for a reason of its own."""

    def __init__(self, cause: Exception | None) -> None:
        self._cause = cause

    def preflight(self) -> None:
        raise DeploymentError("AWS cannot be asked who you are") from self._cause


def test_a_region_that_does_not_answer_before_does_not_end_it() -> None:
    progress = RecordingProgress()
    _preflight(cast("Target", Refusing(ConnectTimeoutError(endpoint_url="https://x"))), progress)
    assert progress.said == ["AWS cannot be asked who you are; going on, since nothing is changed"]


@pytest.mark.parametrize("cause", [None, ValueError()])
def test_wrong_account_is_rejected(cause: Exception | None) -> None:
    with pytest.raises(DeploymentError):
        _preflight(cast("Target", Refusing(cause)), RecordingProgress())


class Held:
    """A target with states, and an embedded AWS that may not run."""

    name = "embedded"

    def __init__(self, **resources: Any) -> None:
        self._held = deployed(**resources)

    def read_state(self, stack: str) -> bytes:
        return self._held.states[stack]

    def edge_addresses(self) -> dict[str, tuple[str, int]]:
        return {}

    def running(self) -> bool:
        return False


ONE = [resource("aws_sns_topic", "a", arn="arn:aws:sns:us-east-1:1:a")]


def test_state_is_read_once() -> None:
    target = Held(primary=ONE, secondary=ONE, common=ONE)
    there = open_live_target(Settings(_env_file=None), cast("Target", target), None)
    assert [found.name for found in there.deployed.of("aws_sns_topic", EAST)] == ["a", "a"]


def test_nothing_deployed_or_running_prints_one_line() -> None:
    with pytest.raises(DeploymentError, match="the stack healthcare-dr-global is not deployed: deploy it first"):
        open_live_target(Settings(_env_file=None), cast("Target", Held(primary=ONE, secondary=ONE)), None)
    target = Held()
    with pytest.raises(DeploymentError, match="does not run: start it with `hdr up`"):
        open_live_target(Settings(_env_file=None), cast("Target", target), cast("Any", target))

"""Puts the live target together for a round of questions."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import STACKS
from healthcare_dr.ops.ports import BreakableAws, Target
from healthcare_dr.ops.status import asker
from healthcare_dr.ops.terraform.state import read_settled
from healthcare_dr.ops.verify.deployed import Deployed
from healthcare_dr.ops.verify.live import Live
from healthcare_dr.settings import Settings


def live_of(
    settings: Settings,
    target: Target,
    emulator: BreakableAws | None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Live:
    """What the checks ask; `emulator` is None on AWS.

    Raises:
        DeploymentError: not all stacks are deployed, their states cannot be read, or the embedded AWS does not run.
    """
    if emulator is not None and not emulator.running():
        raise DeploymentError("the embedded AWS does not run: start it with `hdr up`")
    states: dict[str, bytes] = {}

    def read(stack: str) -> bytes | None:
        found = target.read_state(stack)
        states[stack] = found or b""
        return found

    for stack in STACKS:
        if not read_settled(stack, partial(read, stack)).deployed:
            raise DeploymentError(f"nothing is deployed of {stack}: deploy first (`hdr up` or `hdr deploy`)")
    return Live(
        settings=settings,
        target=target,
        deployed=Deployed(states=states, regions=settings.regions),
        emulator=emulator,
        probe=asker(target),
        now=now,
    )

"""The registry of damages: changes to the deployed platform that one check of `hdr verify` must find."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from support.platform import REGIONS, Deployed

EAST, WEST = REGIONS
LATER = timedelta(hours=1)
Undo = Callable[[], object]
Apply = Callable[[Deployed], Undo]
"""Applies a damage, and returns the function that undoes it."""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One damage, and the finding that the check must report: its region, severity, and a part of its text."""

    name: str
    check: str
    region: str | None
    problem: str
    apply: Apply
    later: timedelta = timedelta()
    """How long after the damage the check runs, on the check's clock."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings other than those of the deployment."""
    severity: str = "failure"

    @contextmanager
    def applied_to(self, deployed: Deployed) -> Iterator[None]:
        """Apply the damage for the duration of the block."""
        try:
            undo = self.apply(deployed)
        except BaseException:
            # It may have been applied in part.
            deployed.restore()
            raise
        try:
            yield
        finally:
            undo()


DAMAGES: dict[str, Damage] = {}


def damage(
    check: str, region: str | None, problem: str, *, name: str | None = None, **rest: Any
) -> Callable[[Apply], Apply]:
    """Register a damage. Its name is that of the function unless `name` is given."""

    def register(apply: Apply) -> Apply:
        registered = (name or apply.__name__).replace("_", "-")
        DAMAGES[registered] = Damage(name=registered, check=check, region=region, problem=problem, apply=apply, **rest)
        return apply

    return register


def without_statement(policy: str, sid: str) -> str:
    """Return a policy document without the statement `sid`, which it must contain."""
    document = json.loads(policy)
    kept = [statement for statement in document["Statement"] if statement["Sid"] != sid]
    assert len(kept) == len(document["Statement"]) - 1
    return json.dumps(document | {"Statement": kept})

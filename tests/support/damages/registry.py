"""Ways to damage the deployed platform, each in one place, and each with its undoing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from support.platform import REGIONS, Deployed

EAST, WEST = REGIONS
LATER = timedelta(hours=1)
Damaging = Callable[[Deployed], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One damage: which check has to find it, where, and what it has to say."""

    name: str
    check: str
    region: str | None
    says: str
    play: Damaging
    later: timedelta = timedelta()
    """How much later than now the check is asked."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings other than those deployed with."""
    severity: str = "failure"


DAMAGES: dict[str, Damage] = {}
Writing = Callable[[Deployed], Iterator[None]]


def damage(check: str, region: str | None, says: str, **rest: Any) -> Callable[[Writing], Writing]:
    """Register a damage and its undoing, as a context manager is written."""

    def register(play: Writing) -> Writing:
        name = play.__name__.replace("_", "-")
        DAMAGES[name] = Damage(name=name, check=check, region=region, says=says, play=contextmanager(play), **rest)
        return play

    return register


def key(deployed: Deployed, region: str) -> str:
    return deployed.outputs()[f"{'Primary' if region == EAST else 'Secondary'}KeyArn"]

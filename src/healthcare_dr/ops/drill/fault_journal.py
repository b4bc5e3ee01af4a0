"""Record each fault on disk before it is injected, so that another process can undo it after a crash."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from healthcare_dr.errors import DeploymentError, HealthcareDrError
from healthcare_dr.ops.drill.experiment import Step


@dataclass(frozen=True, kw_only=True)
class InjectedFault:
    """One line of the journal: a fault in one place. `before` is the state that undoing restores."""

    fault: str
    region: str | None
    """None for faults of both regions."""
    delay_seconds: float = 0.0
    before: dict[str, float | bool | str | None] = field(default_factory=dict)
    hosts: str = ""
    """The host names, with spaces between, to whose clients a front door fails; empty where it fails to all."""

    def __str__(self) -> str:
        return self.fault if self.region is None else f"{self.fault} {self.region}"


class FaultJournal(ABC):
    """Breaks and heals, and keeps the record. Not for several threads at once."""

    hint = "is the platform deployed and running?"

    def __init__(self, *, record: Path) -> None:
        self._record = record

    @abstractmethod
    def _entries(self, step: Step) -> Sequence[InjectedFault]:
        """Return the faults of `step` with the state that undoing restores. Changes nothing."""

    @abstractmethod
    def _break(self, entry: InjectedFault, step: Step) -> None:
        """Break what is on record by now."""

    @abstractmethod
    def _heal(self, entry: InjectedFault, left: Sequence[InjectedFault]) -> None:
        """Undo `entry`; `left` is what else is on record. Also when it was never broken, or is healed already."""

    def apply(self, step: Step) -> tuple[InjectedFault, ...]:
        """Inject the faults of a step; returns the argument of `undo`.

        Raises:
            DeploymentError: a fault cannot be applied; those recorded have to be undone.
        """
        applied: list[InjectedFault] = []
        for found in self._entries(step):
            left = outstanding(self._record)
            # What the same fault has broken already is not what healing has to restore.
            same = next((other for other in left if (other.fault, other.region) == (found.fault, found.region)), found)
            entry = replace(found, before={name: same.before.get(name, was) for name, was in found.before.items()})
            write(self._record, [*left, entry])
            applied.append(entry)
            self._call(f"apply {entry}", partial(self._break, entry, step))
        return tuple(applied)

    def undo(self, entries: Sequence[InjectedFault]) -> None:
        """Heal these, the newest first; those that are not on record any more are healed already.

        Raises:
            DeploymentError: one cannot be undone and stays on record; the others are undone.
        """
        failure: HealthcareDrError | None = None
        for entry in reversed(entries):
            left = outstanding(self._record)
            if entry not in left:
                continue
            left.reverse()
            left.remove(entry)
            left.reverse()
            try:
                self._call(f"undo {entry}", partial(self._heal, entry, left))
                write(self._record, left)
            except HealthcareDrError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def undo_all(self) -> tuple[str, ...]:
        """Undo all recorded faults, also those of other processes; returns their descriptions in that order. Raises as
        `undo`.
        """
        left = outstanding(self._record)
        self.undo(left)
        return tuple(str(entry) for entry in reversed(left))

    def left(self) -> tuple[str, ...]:
        """Return the recorded faults, oldest first. Raises `DeploymentError` when the record cannot be read."""
        return tuple(str(entry) for entry in outstanding(self._record))

    def _call(self, doing: str, call: Callable[[], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except (BotoCoreError, ClientError, OSError) as error:
            said = " ".join(str(error).split())
            raise DeploymentError(f"cannot {doing} ({said}); {self.hint}") from error


def outstanding(record: Path) -> list[InjectedFault]:
    """Return the recorded faults, oldest first; none without a record.

    Raises:
        DeploymentError: the record cannot be read.
    """
    try:
        return [InjectedFault(**entry) for entry in json.loads(record.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise DeploymentError(
            f"{record} cannot be read, so the active faults are unknown; deploy again, then delete it"
        ) from error


def write(record: Path, entries: Sequence[InjectedFault]) -> None:
    """Put `entries` on record, in one go; without any there is no record. Raises `DeploymentError`."""
    try:
        if not entries:
            record.unlink(missing_ok=True)
            return
        record.parent.mkdir(parents=True, exist_ok=True)
        fresh = record.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(entry) for entry in entries], indent=1) + "\n", encoding="utf-8")
        fresh.replace(record)
    except OSError as error:
        raise DeploymentError(f"{record} cannot be written ({error.strerror}); nothing is broken without it") from error

"""Record each fault on disk before it is injected, so that another process can undo it after a crash."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from healthcare_dr.errors import DeploymentError, HealthcareDrError, SettingsError
from healthcare_dr.ops.drill.experiment import Experiment, Step
from healthcare_dr.ops.drill.faults import FAULTS, InjectedFault
from healthcare_dr.ops.drill.faults.fault import FaultTarget


class FaultJournal:
    """Injects and undoes the faults of one target, and keeps `record`. Not thread-safe."""

    def __init__(self, *, target: FaultTarget, record: Path) -> None:
        self._target, self._record = target, record

    def require(self, experiment: Experiment) -> None:
        """Check before any fault that the target has what the experiment's faults need.

        Raises:
            DeploymentError: an FIS template is missing, or FIS does not respond.
        """
        for step in experiment.method:
            if self._injectable(step):
                fault = FAULTS[step.fault]
                for region in fault.regions(step, self._target):
                    self._call(f"apply {step.fault} {region}", partial(fault.require, step, region, self._target))

    def apply(self, step: Step) -> tuple[InjectedFault, ...]:
        """Inject the faults of a step; returns the argument of `undo`.

        Raises:
            SettingsError: the target cannot inject the fault; nothing is changed.
            DeploymentError: a fault cannot be applied; those recorded have to be undone.
        """
        if not self._injectable(step):
            return ()
        fault, target = FAULTS[step.fault], self._target
        # All entries are made first, so that nothing is recorded when one of them fails.
        found = [
            self._call(f"apply {step.fault} {region}", partial(fault.entry, step, region, target))
            for region in fault.regions(step, target)
        ]
        applied: list[InjectedFault] = []
        for new in found:
            left = outstanding(self._record)
            # A fault that is injected twice restores the state before the first injection.
            same = next((other for other in left if (other.fault, other.region) == (new.fault, new.region)), new)
            entry = replace(new, before={name: same.before.get(name, was) for name, was in new.before.items()})
            write(self._record, [*left, entry])
            applied.append(entry)
            self._call(f"apply {entry}", partial(fault.apply, entry, step, target))
        return tuple(applied)

    def undo(self, entries: Sequence[InjectedFault]) -> None:
        """Undo faults, the newest first. Faults that are no longer recorded are undone already.

        Raises:
            DeploymentError: one cannot be undone and stays recorded; the others are undone.
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
                self._call(f"undo {entry}", partial(FAULTS[entry.fault].undo, entry, left, self._target))
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

    def _injectable(self, step: Step) -> bool:
        """Return False for a fault that the target leaves out. Raises `SettingsError` when the target rejects it."""
        fault, label = FAULTS[step.fault], self._target.label
        if label not in fault.targets and not fault.omitted_on_aws:
            raise SettingsError(f"AWS cannot run {step.fault}")
        return label in fault.targets

    def _call(self, doing: str, call: Callable[[], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except (BotoCoreError, ClientError, OSError) as error:
            reason = " ".join(str(error).split())
            raise DeploymentError(f"cannot {doing} ({reason}); {self._target.hint}") from error


def outstanding(record: Path) -> list[InjectedFault]:
    """Return the recorded faults, oldest first; none without a record.

    Raises:
        DeploymentError: the record cannot be read.
    """
    try:
        entries = [InjectedFault(**entry) for entry in json.loads(record.read_text(encoding="utf-8"))]
        if unknown := [entry.fault for entry in entries if entry.fault not in FAULTS]:
            raise ValueError(f"unknown faults: {unknown}")  # noqa: TRY301 - one message for every unreadable record
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise DeploymentError(
            f"{record} cannot be read, so the active faults are unknown; deploy again, then delete it"
        ) from error
    return entries


def write(record: Path, entries: Sequence[InjectedFault]) -> None:
    """Write the record atomically, or delete it when there are no entries. Raises `DeploymentError`."""
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

"""Faults of the embedded AWS: applied, and undone even by another process after this one has died.

Each is written to a record before it is applied, with what is needed to undo it, and is struck off once it is undone.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from healthcare_dr.errors import DeploymentError, HealthcareDrError
from healthcare_dr.naming import Names
from healthcare_dr.ops.drain.flag import DrainFlag, Order, operator
from healthcare_dr.ops.drill.experiment import Role, Step
from healthcare_dr.ops.ports import BreakableAws, DoorFault, DoorMode

DOORS: Final[Mapping[str, DoorMode]] = {
    "refused": "refused",
    "blackhole": "blackhole",
    "errors": "errors",
    "slow": "slow",
}
POLICY: Final = "hdr-drill-denied"
DENIED: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Deny", "Action": ["dynamodb:*", "kms:*", "s3:*"], "Resource": "*"}],
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the record: a fault at one place. `before` is what undoing it restores."""

    fault: str
    region: str | None
    """None for faults of both regions."""
    delay_seconds: float = 0.0
    before: dict[str, float | bool | None] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.fault if self.region is None else f"{self.fault} {self.region}"


class Faults:
    """Breaks and heals. Not for several threads at once.

    `client` gives a boto3 client of a service in a region; it has to send `aws.pass_header()`, because control planes
    may be refused when a fault has to be undone. `regions` says which region is primary and which is secondary.
    """

    def __init__(
        self,
        *,
        aws: BreakableAws,
        client: Callable[[str, str], Any],
        names: Names,
        regions: Mapping[Role, str],
        record: Path,
    ) -> None:
        self._aws, self._client, self._names, self._regions = aws, client, names, regions
        self._record = record

    def apply(self, step: Step) -> tuple[Entry, ...]:
        """Break what the step says; gives what `undo` takes.

        Raises:
            DeploymentError: it cannot be applied; what was recorded is still to be undone.
        """
        applied: list[Entry] = []
        for found in self._entries(step):
            left = outstanding(self._record)
            # What the same fault has broken already is not what healing has to restore.
            same = next((other for other in left if (other.fault, other.region) == (found.fault, found.region)), found)
            entry = replace(found, before={name: same.before.get(name, was) for name, was in found.before.items()})
            write(self._record, [*left, entry])
            applied.append(entry)
            self._call(f"apply {entry}", partial(self._break, entry, step))
        return tuple(applied)

    def undo(self, entries: Sequence[Entry]) -> None:
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
        """Heal all that is on record, whoever broke it; says what it was, in the order of healing. Raises as `undo`."""
        left = outstanding(self._record)
        self.undo(left)
        return tuple(str(entry) for entry in reversed(left))

    def left(self) -> tuple[str, ...]:
        """What is on record as broken, the oldest first. Raises `DeploymentError` when the record cannot be read."""
        return tuple(str(entry) for entry in outstanding(self._record))

    def _entries(self, step: Step) -> list[Entry]:
        found = self._aws.replication()
        if step.fault == "replication-paused":
            stopped = {"tables": (step.tables, found.tables), "documents": (step.documents, found.documents)}
            return [
                Entry(
                    fault=step.fault, region=None, before={name: was for name, (stop, was) in stopped.items() if stop}
                )
            ]
        if step.fault == "replication-lag":
            return [Entry(fault=step.fault, region=None, before={"lag_seconds": found.lag_seconds})]
        if step.fault == "control-planes":
            return [Entry(fault=step.fault, region=None)]
        entries = []
        for region in (self._regions[role] for role in step.roles):
            before: dict[str, float | bool | None] = {}
            if step.fault == "throttled":
                answer = self._call(
                    f"apply {step.fault} {region}",
                    partial(self._client("lambda", region).get_function_concurrency, FunctionName=self._function),
                )
                before = {"concurrency": answer.get("ReservedConcurrentExecutions")}
            if step.fault == "drained":
                before = {"standing": self._flag(region).standing()}
            entries.append(
                Entry(fault=step.fault, region=region, delay_seconds=step.delay_seconds or 0.0, before=before)
            )
        return entries

    @property
    def _function(self) -> str:
        return self._names.of("patient-api")

    def _break(self, entry: Entry, step: Step) -> None:
        region = entry.region or ""
        if entry.fault in DOORS:
            self._aws.play(region, _door(entry))
        elif entry.fault == "throttled":
            self._client("lambda", region).put_function_concurrency(
                FunctionName=self._function, ReservedConcurrentExecutions=0
            )
        elif entry.fault == "denied":
            self._client("iam", region).put_role_policy(
                RoleName=self._names.of("patient-api", region), PolicyName=POLICY, PolicyDocument=json.dumps(DENIED)
            )
        elif entry.fault == "drained":
            self._flag(region).set(_order())
        elif entry.fault == "control-planes":
            self._aws.refuse_control_planes(refused=True)
        elif entry.fault == "replication-lag":
            self._aws.set_replication(lag_seconds=step.lag_seconds)
        else:
            self._aws.set_replication(
                tables=False if step.tables else None, documents=False if step.documents else None
            )

    def _heal(self, entry: Entry, left: Sequence[Entry]) -> None:
        region, before = entry.region or "", entry.before
        if entry.fault in DOORS:
            # A door has one behaviour: what another fault still on record asks of it goes on.
            others = [other for other in left if other.fault in DOORS and other.region == region]
            self._aws.play(region, _door(others[-1]) if others else DoorFault())
        elif entry.fault == "throttled":
            client, limit = self._client("lambda", region), before.get("concurrency")
            if limit is None:
                client.delete_function_concurrency(FunctionName=self._function)
            else:
                client.put_function_concurrency(FunctionName=self._function, ReservedConcurrentExecutions=int(limit))
        elif entry.fault == "denied":
            self._allow(region)
        elif entry.fault == "drained":
            if not before["standing"]:
                self._flag(region).clear(_order())
        elif entry.fault == "control-planes":
            self._aws.refuse_control_planes(refused=False)
        else:
            self._aws.set_replication(**before)  # type: ignore[arg-type]

    def _flag(self, region: str) -> DrainFlag:
        surviving = next(other for other in self._regions.values() if other != region)
        return DrainFlag(
            client=self._client("dynamodb", surviving),
            records=self._names.records_table,
            audit=self._names.audit_table,
            drained=region,
            surviving=surviving,
        )

    def _allow(self, region: str) -> None:
        from botocore.exceptions import ClientError

        try:
            self._client("iam", region).delete_role_policy(
                RoleName=self._names.of("patient-api", region), PolicyName=POLICY
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise

    def _call(self, doing: str, call: Callable[[], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            said = " ".join(str(error).split())
            raise DeploymentError(f"cannot {doing} ({said}); is the platform deployed and running?") from error


def outstanding(record: Path) -> list[Entry]:
    """What is on record as broken, the oldest first; nothing when there is no record.

    Raises:
        DeploymentError: the record cannot be read.
    """
    try:
        return [Entry(**entry) for entry in json.loads(record.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise DeploymentError(
            f"{record} cannot be read, so it is not known what is broken; deploy anew, then delete it"
        ) from error


def write(record: Path, entries: Sequence[Entry]) -> None:
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


def _order() -> Order:
    return Order(id=str(uuid4()), at=datetime.now(UTC), by=operator(os.environ), reason="drill")


def _door(entry: Entry) -> DoorFault:
    return DoorFault(mode=DOORS[entry.fault], delay_seconds=entry.delay_seconds)

"""Faults of the embedded AWS: applied, and undone even by another process after this one has died.

Each is written to a record before it is applied, with what is needed to undo it, and is struck off once it is undone.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from healthcare_dr.naming import Names
from healthcare_dr.ops.drill.experiment import Role, Step
from healthcare_dr.ops.drill.fault_journal import FaultJournal, InjectedFault
from healthcare_dr.ops.drill.faults.api import API_FAULTS, ApiFaults, Client
from healthcare_dr.ops.ports import BreakableAws, EdgeFault, EdgeMode

DOORS: Final[Mapping[str, EdgeMode]] = {mode: mode for mode in ("refused", "blackhole", "errors", "slow")}


class EmbeddedFaults(FaultJournal):
    """Injects and undoes faults on the embedded AWS. Not thread-safe.

    `client` returns a boto3 client of a service in a region. It must send `aws.bypass_header()`, because control planes
    may be denied when a fault has to be undone. `regions` names the primary and the secondary region. `hosts` are the
    environment's own host names by region, given where the listeners serve other environments too: a listener then
    fails for these hosts only.
    """

    def __init__(
        self,
        *,
        aws: BreakableAws,
        client: Client,
        names: Names,
        regions: Mapping[Role, str],
        record: Path,
        hosts: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        super().__init__(record=record)
        self._aws, self._regions, self._hosts, self._environment = aws, regions, hosts, names.suffix
        self._api = ApiFaults(client=client, names=names, regions=regions.values())

    def _entries(self, step: Step) -> list[InjectedFault]:
        found = self._aws.replication()
        if step.fault == "replication-paused":
            stopped = {"tables": (step.tables, found.tables), "documents": (step.documents, found.documents)}
            return [
                InjectedFault(
                    fault=step.fault, region=None, before={name: was for name, (stop, was) in stopped.items() if stop}
                )
            ]
        if step.fault == "disconnected":
            return [
                InjectedFault(
                    fault=step.fault,
                    region=self._regions[role],
                    before={"tables": found.tables, "documents": found.documents},
                )
                for role in step.roles
            ]
        if step.fault == "replication-lag":
            return [InjectedFault(fault=step.fault, region=None, before={"lag_seconds": found.lag_seconds})]
        if step.fault == "control-planes":
            return [InjectedFault(fault=step.fault, region=None)]
        entries = []
        for region in (self._regions[role] for role in step.roles):
            before = self._call(f"apply {step.fault} {region}", partial(self._api.before, step.fault, region))
            entries.append(
                InjectedFault(
                    fault=step.fault,
                    region=region,
                    delay_seconds=step.delay_seconds or 0.0,
                    before=before,
                    hosts=" ".join(self._hosts.get(region, ())) if step.fault in DOORS else "",
                )
            )
        return entries

    def _break(self, entry: InjectedFault, step: Step) -> None:
        region = entry.region or ""
        if entry.fault in DOORS:
            self._aws.set_edge_fault(region, _door(entry), hosts=entry.hosts.split())
        elif entry.fault in API_FAULTS:
            self._api.apply(entry.fault, region)
        elif entry.fault == "control-planes":
            self._aws.refuse_control_planes(refused=True, environment=self._environment)
        elif entry.fault == "disconnected":
            self._api.part_documents()
            self._aws.set_replication(tables=False, documents=False)
        elif entry.fault == "replication-lag":
            self._aws.set_replication(lag_seconds=step.lag_seconds)
        else:
            self._aws.set_replication(
                tables=False if step.tables else None, documents=False if step.documents else None
            )

    def _heal(self, entry: InjectedFault, left: Sequence[InjectedFault]) -> None:
        region, before = entry.region or "", entry.before
        if entry.fault in DOORS:
            # A door has one behaviour: what another fault still on record asks of it goes on.
            others = [
                other for other in left if other.fault in DOORS and (other.region, other.hosts) == (region, entry.hosts)
            ]
            self._aws.set_edge_fault(region, _door(others[-1]) if others else EdgeFault(), hosts=entry.hosts.split())
        elif entry.fault in API_FAULTS:
            self._api.undo(entry.fault, region, before)
        elif entry.fault == "control-planes":
            self._aws.refuse_control_planes(refused=False, environment=self._environment)
        elif entry.fault == "disconnected":
            if all(other.fault != "disconnected" for other in left):
                self._api.join_documents()
            self._aws.set_replication(**before)  # type: ignore[arg-type] # each name has its own type
        else:
            self._aws.set_replication(**before)  # type: ignore[arg-type] # each name has its own type


def _door(entry: InjectedFault) -> EdgeFault:
    return EdgeFault(mode=DOORS[entry.fault], delay_seconds=entry.delay_seconds)

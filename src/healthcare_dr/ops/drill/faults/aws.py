"""Faults on AWS, with the same record as on the embedded AWS: Lambda's and IAM's own calls, and experiments of FIS.

Nothing here has run against AWS itself: Lambda and IAM are proven against the embedded AWS, FIS against its service
model alone.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

from healthcare_dr.errors import SettingsError
from healthcare_dr.infra.fault_injection import DISCONNECT, PAUSE_DOCUMENTS, PAUSE_TABLES, TEMPLATES
from healthcare_dr.naming import Names
from healthcare_dr.ops.drill.capabilities import PLAYED_BY_FIS, UNPLAYABLE_ON_AWS
from healthcare_dr.ops.drill.experiment import Experiment, Role, Step
from healthcare_dr.ops.drill.fault_journal import FaultJournal, InjectedFault
from healthcare_dr.ops.drill.faults.api import API_FAULTS, ApiFaults, Client
from healthcare_dr.ops.drill.faults.fis import FisExperiments


class AwsFaults(FaultJournal):
    """Breaks and heals an account. Not for several threads at once.

    Pausing tables in one region stops them in both directions, pausing documents only those that leave the region:
    replication is paused in both. A region is disconnected by FIS, and by closing the role through which each region's
    functions reach the other's documents.
    """

    hint = "is the platform deployed, and may you do this? See docs/fault-injection.md"

    def __init__(
        self,
        *,
        client: Client,
        names: Names,
        regions: Mapping[Role, str],
        record: Path,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        say: Callable[[str], None],
    ) -> None:
        super().__init__(record=record)
        self._regions = regions
        self._api = ApiFaults(client=client, names=names, regions=regions.values())
        self._fis = FisExperiments(client=client, names=names, clock=clock, sleep=sleep, say=say)

    def demand_templates(self, experiment: Experiment) -> None:
        """Check before any fault that every template that the experiment needs exists.

        Raises:
            DeploymentError: one is missing, or FIS does not respond.
        """
        for step in experiment.method:
            if step.fault in PLAYED_BY_FIS:
                for region in self._places(step):
                    self._templates(step, region)

    def _entries(self, step: Step) -> list[InjectedFault]:
        fault = step.fault
        if fault in UNPLAYABLE_ON_AWS:
            return []
        entries = []
        for region in self._places(step):
            if fault in API_FAULTS:
                before = self._call(f"apply {fault} {region}", partial(self._api.before, fault, region))
            elif fault in PLAYED_BY_FIS:
                before = {"order": uuid4().hex, **dict.fromkeys(self._templates(step, region), True)}
            else:
                raise SettingsError(f"AWS cannot play {fault}")
            entries.append(InjectedFault(fault=fault, region=region, before=before))
        return entries

    def _break(self, entry: InjectedFault, step: Step) -> None:
        del step
        region = entry.region or ""
        if entry.fault in API_FAULTS:
            self._api.apply(entry.fault, region)
        else:
            if entry.fault == "disconnected":
                self._api.part_documents()
            self._fis.start(region, _kinds(entry), str(entry.before["order"]))

    def _heal(self, entry: InjectedFault, left: Sequence[InjectedFault]) -> None:
        region, before = entry.region or "", entry.before
        if entry.fault in API_FAULTS:
            self._api.undo(entry.fault, region, before)
        else:
            if entry.fault == "disconnected" and all(other.fault != "disconnected" for other in left):
                self._api.join_documents()
            self._fis.stop(region, _kinds(entry), str(before["order"]))

    def _places(self, step: Step) -> list[str]:
        return [self._regions[role] for role in step.roles]

    def _templates(self, step: Step, region: str) -> list[str]:
        """The kinds of templates that play a step in a region."""
        kinds = [DISCONNECT]
        if step.fault == "replication-paused":
            wanted = ((PAUSE_TABLES, step.tables), (PAUSE_DOCUMENTS, step.documents))
            kinds = [kind for kind, pauses in wanted if pauses]
        self._call(f"apply {step.fault} {region}", partial(self._fis.templates, region, kinds))
        return kinds


def _kinds(entry: InjectedFault) -> list[str]:
    return [kind for kind in TEMPLATES if entry.before.get(kind)]

"""Faults that use calls of Lambda and IAM, injected on the deployed platform as on AWS. FIS is not available."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.experiment import Step
from healthcare_dr.ops.drill.fault_journal import FaultJournal
from healthcare_dr.ops.drill.faults.fault import AwsTarget
from healthcare_dr.ops.drill.faults.fis import FisExperiments
from support.platform import REGIONS, Deployed, eventually

PRIMARY, SECONDARY = REGIONS


def faults(deployed: Deployed, record: Path) -> FaultJournal:
    client, names = deployed.client, deployed.names
    fis = FisExperiments(client=client, names=names, clock=lambda: 0.0, sleep=lambda _: None, report=lambda _: None)
    regions = {"primary": PRIMARY, "secondary": SECONDARY}
    return FaultJournal(target=AwsTarget(client=client, names=names, regions=regions, fis=fis), record=record)


@pytest.fixture
def record(deployed: Deployed, tmp_path: Path) -> Iterator[Path]:
    """Return the file of the fault journal. All faults are undone after the test."""
    file = tmp_path / "faults.json"
    yield file
    faults(deployed, file).undo_all()


def answer(deployed: Deployed, region: str) -> int:
    """Return the status of a read in that region."""
    with deployed.api(region, deployed.token()) as api:
        return api.get("/fhir/Patient").status_code


@pytest.mark.parametrize(("fault", "answered"), [("throttled", (429, 503)), ("denied", (500, 503))])
@pytest.mark.parametrize("limit", [None, 20])
def test_fault_affects_one_region_and_another_process_undoes_it(
    deployed: Deployed, record: Path, fault: str, answered: tuple[int, ...], limit: int | None
) -> None:
    functions, name = deployed.client("lambda", PRIMARY), deployed.names.of("patient-api")
    if limit is not None:
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=limit)
    try:
        assert answer(deployed, PRIMARY) == 200
        faults(deployed, record).apply(Step.model_validate({"fault": fault, "region": "primary"}))
        eventually(lambda: answer(deployed, PRIMARY) in answered)
        assert answer(deployed, SECONDARY) == 200
        assert faults(deployed, record).undo_all() == (f"{fault} {PRIMARY}",)
        eventually(lambda: answer(deployed, PRIMARY) == 200)
        found = functions.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
        assert found == limit
        assert not record.exists()
    finally:
        if limit is not None:
            functions.delete_function_concurrency(FunctionName=name)


def test_another_process_restores_a_drained_region(deployed: Deployed, record: Path) -> None:
    assert deployed.drain_flags()[1] == 404
    faults(deployed, record).apply(Step.model_validate({"fault": "drained", "region": "primary"}))
    eventually(lambda: deployed.drain_flags()[1] == 200)
    assert faults(deployed, record).undo_all() == (f"drained {PRIMARY}",)
    eventually(lambda: deployed.drain_flags()[1] == 404)


def test_without_fis_nothing_is_broken(deployed: Deployed, record: Path) -> None:
    with pytest.raises(DeploymentError, match=r"cannot apply replication-paused us-east-1|has no FIS template"):
        faults(deployed, record).apply(Step.model_validate({"fault": "replication-paused"}))
    assert not record.exists()

"""Terraform deploys all three stacks, and a second plan is empty."""

import json
import re
from pathlib import Path

import pytest

from healthcare_dr.naming import STACKS
from support.deployments import Ready
from support.platform import REGIONS, Deployed


@pytest.mark.requirement("D8")
@pytest.mark.parametrize("number", [pytest.param(0, id="deployment-0")])
def test_all_three_stacks_are_deployed_to_an_empty_account(deployment: Ready, number: int) -> None:
    assert deployment.from_nothing
    assert deployment.changes["add"] > 200
    assert (deployment.changes["change"], deployment.changes["remove"]) == (0, 0)


@pytest.mark.requirement("D8")
def test_deployed_bytes_equal_the_synthesized_bytes(deployed: Deployed, tmp_path: Path) -> None:
    assert deployed.hdr("synth", "--out", str(tmp_path / "out")).returncode == 0
    for stack in STACKS:
        synthesized = (tmp_path / "out" / "stacks" / stack / "cdk.tf.json").read_bytes()
        assert (deployed.home / "embedded" / "it" / stack / "cdk.tf.json").read_bytes() == synthesized


@pytest.mark.requirement("D8")
def test_second_plan_is_empty(deployed: Deployed) -> None:
    plan = deployed.reported("plan")
    assert set(plan) == set(STACKS)
    assert [stack for stack, found in plan.items() if found["pending"]] == [], json.dumps(plan, indent=2)


@pytest.mark.requirement("D8")
def test_both_regions_are_healthy_and_serving(deployed: Deployed) -> None:
    status = deployed.reported("status")
    assert [(region["region"], region["health"], region["drain"]) for region in status["regions"]] == [
        (region, "healthy", "serving") for region in REGIONS
    ]


@pytest.mark.requirement("D9")
def test_outputs_are_written_flat(deployed: Deployed, tmp_path: Path) -> None:
    target = tmp_path / "cfn-outputs" / "flat-outputs.json"
    finished = deployed.hdr("outputs", "--outputs-file", str(target))
    assert finished.returncode == 0, finished.stderr
    outputs = json.loads(target.read_text())
    assert all(isinstance(value, str) for value in outputs.values())
    assert outputs["RecordsTable"] == "patient_records-it"
    assert outputs["PrimaryApiEndpoint"].endswith(".execute-api.us-east-1.amazonaws.com")
    assert outputs["SecondaryApiEndpoint"].endswith(".execute-api.us-west-2.amazonaws.com")


@pytest.mark.requirement("R4.1", "R4.2")
def test_zone_contains_a_weighted_record_for_each_region(deployed: Deployed) -> None:
    route53 = deployed.client("route53")
    zone = deployed.outputs()["ZoneId"]
    records = [
        record
        for record in route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        if record["Type"] == "CNAME"
    ]
    assert {record["SetIdentifier"]: (record["Weight"], record["TTL"]) for record in records} == {
        "us-east-1": (70, 10),
        "us-west-2": (30, 10),
    }
    checks = {check["Id"]: check["HealthCheckConfig"] for check in route53.list_health_checks()["HealthChecks"]}
    for record in records:
        verdict = checks[record["HealthCheckId"]]
        assert (verdict["Type"], verdict["HealthThreshold"], len(verdict["ChildHealthChecks"])) == ("CALCULATED", 2, 2)
        probes = [checks[child] for child in verdict["ChildHealthChecks"]]
        assert all((probe["RequestInterval"], probe["FailureThreshold"]) == (10, 3) for probe in probes)
        assert sorted(probe.get("Inverted", False) for probe in probes) == [False, True]


@pytest.mark.requirement("R1.1", "R1.4", "R5.1")
@pytest.mark.trap(4, 5)
def test_each_replica_has_its_own_key_and_recovery(deployed: Deployed, region: str) -> None:
    dynamodb = deployed.client("dynamodb", region)
    key = deployed.client("kms", region).describe_key(KeyId=deployed.names.key_alias())["KeyMetadata"]["Arn"]
    for name in (deployed.names.records_table, deployed.names.audit_table):
        table = dynamodb.describe_table(TableName=name)["Table"]
        assert table["SSEDescription"]["KMSMasterKeyArn"] == key
        assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


@pytest.mark.requirement("C6")
def test_nothing_listens_beyond_loopback(deployed: Deployed) -> None:
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    for port in (deployed.port, deployed.port + 1):
        addresses = re.findall(rf"\d+: ([0-9A-F]+):{port:04X} [0-9A-F]+:0000 0A", listening)
        assert addresses == ["0100007F"]

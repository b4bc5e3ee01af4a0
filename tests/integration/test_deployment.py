"""The real Terraform deploys all three stacks, finds nothing to change afterwards, and destroys them without a rest."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from healthcare_dr.naming import STACKS
from integration.platform_run import REGIONS, Deployed


def test_an_interrupted_deployment_stops_cleanly(interruption: subprocess.CompletedProcess[str]) -> None:
    assert interruption.returncode == 130
    assert "Traceback" not in interruption.stdout
    assert "the next run goes on from there" in " ".join(interruption.stdout.split())


@pytest.mark.requirement("D8")
@pytest.mark.parametrize("injected", ["false", "true"])
def test_terraform_validates_all_three_stacks(environment: Deployed, tmp_path: Path, injected: str) -> None:
    # In a home of its own: what is validated lies where what is deployed lies.
    settings = {"HDR_FAULT_INJECTION": injected, "HDR_HOME": str(tmp_path / "home")}
    finished = environment.hdr("synth", "--out", str(tmp_path / "out"), "--validate", **settings)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.requirement("D8")
def test_the_bytes_that_were_deployed_are_the_synthesized_ones(deployed: Deployed, tmp_path: Path) -> None:
    assert deployed.hdr("synth", "--out", str(tmp_path / "out")).returncode == 0
    for stack in STACKS:
        synthesized = (tmp_path / "out" / "stacks" / stack / "cdk.tf.json").read_bytes()
        assert (deployed.home / "embedded" / "it" / stack / "cdk.tf.json").read_bytes() == synthesized


@pytest.mark.requirement("D8")
def test_the_next_run_goes_on_and_a_second_plan_is_empty(deployed: Deployed) -> None:
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
def test_the_zone_holds_a_weighted_record_for_each_region(deployed: Deployed) -> None:
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


def test_stopping_and_starting_keeps_everything(deployed: Deployed) -> None:
    with deployed.api(REGIONS[0], deployed.token()) as client:
        written = client.post("/fhir/Patient", json={"resourceType": "Patient"})
    assert deployed.hdr("down", "--keep").returncode == 0
    assert deployed.emulator.running() is False
    assert deployed.hdr("status").returncode != 0
    finished = deployed.hdr("up")
    assert finished.returncode == 0, finished.stderr
    with deployed.api(REGIONS[1], deployed.token()) as client:
        assert client.get(f"/fhir/Patient/{written.json()['id']}").json() == written.json()


@pytest.mark.ends_the_deployment
@pytest.mark.requirement("D6", "R3.4")
def test_destroy_leaves_nothing_but_keys_awaiting_deletion(deployed: Deployed) -> None:
    for region in REGIONS:
        bucket = deployed.bucket(region)
        deployed.client("s3", region).put_object(Bucket=bucket, Key="left-behind", Body=b"a document")
    finished = deployed.hdr("destroy", "--target", "embedded")
    assert finished.returncode == 0, finished.stderr
    assert remains(deployed) == []
    for region in REGIONS:
        kms = deployed.client("kms", region)
        states = {kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] for key in kms.list_keys()["Keys"]}
        assert states <= {"PendingDeletion"}
    assert deployed.hdr("down").returncode == 0
    assert deployed.emulator.running() is False


def remains(deployed: Deployed) -> list[str]:
    """Whatever the account still holds in either region, keys aside."""
    found: list[str] = [f"bucket {bucket['Name']}" for bucket in deployed.client("s3").list_buckets()["Buckets"]]
    iam = deployed.client("iam")
    found += [f"role {role['RoleName']}" for role in iam.list_roles()["Roles"] if "healthcare" in role["RoleName"]]
    found += [f"policy {policy['PolicyName']}" for policy in iam.list_policies(Scope="Local")["Policies"]]
    route53 = deployed.client("route53")
    found += [f"zone {zone['Name']}" for zone in route53.list_hosted_zones()["HostedZones"]]
    found += [f"health check {check['Id']}" for check in route53.list_health_checks()["HealthChecks"]]
    for region in REGIONS:
        for service, call, answer, label in (
            ("dynamodb", "list_tables", "TableNames", None),
            ("lambda", "list_functions", "Functions", "FunctionName"),
            ("apigatewayv2", "get_apis", "Items", "Name"),
            ("sns", "list_topics", "Topics", "TopicArn"),
            ("logs", "describe_log_groups", "logGroups", "logGroupName"),
            ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
            ("cloudwatch", "describe_alarms", "CompositeAlarms", "AlarmName"),
            ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
            ("cloudtrail", "describe_trails", "trailList", "Name"),
            ("kms", "list_aliases", "Aliases", "AliasName"),
        ):
            items = getattr(deployed.client(service, region), call)()[answer]
            names = [item[label] if label else item for item in items]
            found += [f"{region} {service} {name}" for name in names if not name.startswith("alias/aws/")]
        ec2 = deployed.client("ec2", region)
        found += [f"{region} vpc {vpc['VpcId']}" for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc.get("IsDefault")]
        found += [f"{region} {log['FlowLogId']}" for log in ec2.describe_flow_logs()["FlowLogs"]]
    return found

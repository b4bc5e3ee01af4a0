"""Least privilege, proven by taking statements away and by trying what is not granted."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from support.platform import REGIONS, Deployed, eventually, patient

TRY = """
import boto3

def handler(event, context):
    options = {}
    if event.get("assume"):
        taken = boto3.client("sts").assume_role(RoleArn=event["assume"], RoleSessionName="test")["Credentials"]
        options = {
            "aws_access_key_id": taken["AccessKeyId"],
            "aws_secret_access_key": taken["SecretAccessKey"],
            "aws_session_token": taken["SessionToken"],
        }
    try:
        client = boto3.client(event["service"], region_name=event["region"], **options)
        answer = getattr(client, event["call"])(**event["arguments"])
    except Exception as error:
        print("refused")
        return type(error).__name__ + ": " + str(error)
    print("allowed")
    return answer["Body"].read().decode() if "Body" in answer else "allowed"
"""


@pytest.fixture(scope="module")
def as_api_role(deployed: Deployed) -> Iterator[Any]:
    """Makes a call from a function that runs as the API's role of a region."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("attempt.py", TRY)
    name = "attempt-it"
    for region in REGIONS:
        role = deployed.client("iam").get_role(RoleName=deployed.names.of("patient-api", region))["Role"]["Arn"]
        deployed.client("lambda", region).create_function(
            FunctionName=name, Role=role, Runtime="python3.13", Handler="attempt.handler", Timeout=20,
            Code={"ZipFile": archive.getvalue()},
        )  # fmt: skip

    def attempt(region: str, service: str, call: str, *, at: str | None = None, assume: str | None = None,
                **arguments: Any) -> str:  # fmt: skip
        event = {"service": service, "call": call, "region": at or region, "assume": assume, "arguments": arguments}
        answer = deployed.client("lambda", region).invoke(FunctionName=name, Payload=json.dumps(event))
        said = json.loads(answer["Payload"].read())
        return said if isinstance(said, str) else str(said)

    yield attempt
    for region in REGIONS:
        deployed.client("lambda", region).delete_function(FunctionName=name)
        logs = deployed.client("logs", region)
        logs.delete_log_group(logGroupName=f"/aws/lambda/{name}")


@contextmanager
def without_statement(deployed: Deployed, policy: str, sid: str) -> Iterator[None]:
    """Take one statement out of a managed policy, and put it back."""
    iam = deployed.client("iam")
    arn = f"arn:aws:iam::{deployed.account()}:policy/{policy}"
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    kept = [statement for statement in document["Statement"] if statement["Sid"] != sid]
    assert len(kept) == len(document["Statement"]) - 1
    damaged = iam.create_policy_version(
        PolicyArn=arn, PolicyDocument=json.dumps(document | {"Statement": kept}), SetAsDefault=True
    )["PolicyVersion"]["VersionId"]
    try:
        yield
    finally:
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)
        for old in (version, damaged):
            iam.delete_policy_version(PolicyArn=arn, VersionId=old)


@contextmanager
def without_the_key(deployed: Deployed, region: str) -> Iterator[None]:
    """Take the API's role out of the key's policy, and put it back."""
    kms, alias = deployed.client("kms", region), deployed.names.key_alias()
    key = kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"]
    text = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    policy = json.loads(text)
    kept = [statement for statement in policy["Statement"] if statement["Sid"] != "ApiRole"]
    assert len(kept) == len(policy["Statement"]) - 1
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy | {"Statement": kept}))
    try:
        yield
    finally:
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=text)


@contextmanager
def without(deployed: Deployed, region: str, permission: str) -> Iterator[None]:
    """Take a permission from the API's role; the key's is granted twice, by the key and by the role."""
    with ExitStack() as stack:
        stack.enter_context(without_statement(deployed, deployed.names.of("patient-api", region), permission))
        if permission == "Key":
            stack.enter_context(without_the_key(deployed, region))
        yield


@pytest.mark.requirement("C6", "C5")
@pytest.mark.parametrize("sid", ["Records", "Audit", "Key"])
def test_the_api_cannot_do_without_its_permissions(
    deployed: Deployed, apis: dict[str, httpx.Client], region: str, other_region: str, sid: str
) -> None:
    written = apis[region].post("/fhir/Patient", json=patient()).json()
    address = f"/fhir/Patient/{written['id']}"
    deployed.settle()
    with without(deployed, region, sid):
        for refused in (apis[region].post("/fhir/Patient", json=patient()), apis[region].get(address)):
            assert refused.status_code == 503
            assert refused.json()["resourceType"] == "OperationOutcome"
            assert "AccessDenied" not in refused.text
        assert apis[other_region].get(address).status_code == 200
    assert apis[region].get(address).json() == written


@pytest.fixture
def fast(deployed: Deployed) -> Iterator[Deployed]:
    """The platform at ten times the speed of real time, so that verdicts are kept for a tenth of the time."""
    deployed.emulator.set_time_scale(10)
    yield deployed
    deployed.emulator.set_time_scale(1)


@pytest.mark.requirement("C1", "R4.2")
@pytest.mark.trap(24)
@pytest.mark.parametrize("sid", ["Records", "DocumentsBucket", "Key"])
def test_health_fails_without_a_permission(
    fast: Deployed, deployed: Deployed, region: str, other_region: str, sid: str
) -> None:
    with without(deployed, region, sid), deployed.api(region) as client:
        assert answered(client, 503) == {"status": "unhealthy"}
        with deployed.api(other_region) as other:
            assert other.get("/health").status_code == 200
    with deployed.api(region) as client:
        assert answered(client, 200) == {"status": "healthy"}


def answered(client: httpx.Client, status: int) -> Any:
    """The answer of /health when it has this status: a verdict is kept for some seconds."""
    answers: list[httpx.Response] = []

    def has_status() -> bool:
        answers.append(client.get("/health"))
        return answers[-1].status_code == status

    eventually(has_status)
    return answers[-1].json()


@pytest.mark.requirement("C6", "R1.3")
def test_the_api_can_change_or_delete_no_audit_item(deployed: Deployed, region: str, as_api_role: Any) -> None:
    table, key = deployed.names.audit_table, {"pk": {"S": "clinic-a#x"}, "sk": {"S": "x"}}
    assert as_api_role(region, "dynamodb", "put_item", TableName=table, Item=key) == "allowed"
    for call, more in (
        ("delete_item", {"Key": key}),
        ("update_item", {"Key": key, "UpdateExpression": "REMOVE outcome"}),
        ("scan", {}),
    ):
        assert "AccessDenied" in as_api_role(region, "dynamodb", call, TableName=table, **more)


@pytest.mark.requirement("C6")
def test_the_api_can_delete_no_record_and_touch_no_control_plane(
    deployed: Deployed, region: str, as_api_role: Any
) -> None:
    table = deployed.names.records_table
    for service, call, arguments in (
        ("dynamodb", "delete_item", {"TableName": table, "Key": {"pk": {"S": "a"}, "sk": {"S": "b"}}}),
        ("dynamodb", "scan", {"TableName": table}),
        ("s3", "delete_object", {"Bucket": deployed.bucket(region), "Key": "x"}),
        ("s3", "list_buckets", {}),
        ("route53", "list_hosted_zones", {}),
        ("iam", "list_roles", {}),
        ("lambda", "list_functions", {}),
        ("ec2", "describe_vpcs", {}),
    ):
        said = as_api_role(region, service, call, **arguments)
        assert "Denied" in said or "UnauthorizedOperation" in said, f"{service} {call}: {said}"


@pytest.mark.requirement("R2.3", "R5.2")
@pytest.mark.trap(36)
def test_the_peers_api_reads_and_writes_documents_here_through_its_role(
    deployed: Deployed, region: str, other_region: str, as_api_role: Any
) -> None:
    bucket = deployed.bucket(other_region)
    role = f"arn:aws:iam::{deployed.account()}:role/{deployed.names.of('documents-peer', other_region)}"
    there = {"at": other_region, "assume": role, "Bucket": bucket, "Key": f"from-{region}"}
    assert as_api_role(region, "s3", "put_object", Body="a document", **there) == "allowed"
    assert as_api_role(region, "s3", "get_object", **there) == "a document"
    assert "AccessDenied" in as_api_role(region, "s3", "delete_object", **there)
    tables = {"at": other_region, "assume": role, "TableName": deployed.names.records_table}
    assert "AccessDenied" in as_api_role(region, "dynamodb", "scan", **tables)


@pytest.mark.requirement("R2.3")
@pytest.mark.trap(36)
def test_only_the_peers_functions_assume_the_role(deployed: Deployed, region: str, as_api_role: Any) -> None:
    own = f"arn:aws:iam::{deployed.account()}:role/{deployed.names.of('documents-peer', region)}"
    try:
        said = as_api_role(region, "s3", "list_objects_v2", assume=own, Bucket=deployed.bucket(region))
    except ClientError as error:
        said = str(error)
    assert "AccessDenied" in said

"""Least privilege: removed permissions break the API, and calls that are not granted are denied."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from support.attempts import Attempt, attempts
from support.damages.data import key_policy
from support.damages.registry import without_statement
from support.platform import Deployed, eventually, patient

API = "patient-api"


@pytest.fixture(scope="module")
def as_api_role(deployed: Deployed) -> Iterator[Attempt]:
    """Make a call with the API's role of a region."""
    with attempts(deployed, [API]) as attempt:
        yield lambda region, *call, **arguments: attempt(region, API, *call, **arguments)


@contextmanager
def role_without(deployed: Deployed, region: str, sid: str) -> Iterator[None]:
    """Remove a statement of the managed policy of the API's role."""
    iam, name = deployed.client("iam"), deployed.names.of(API, region)
    arn = f"arn:aws:iam::{deployed.account()}:policy/{name}"
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = json.dumps(iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"])
    damaged = iam.create_policy_version(
        PolicyArn=arn, PolicyDocument=without_statement(document, sid), SetAsDefault=True
    )["PolicyVersion"]["VersionId"]
    try:
        yield
    finally:
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)
        for old in (version, damaged):
            iam.delete_policy_version(PolicyArn=arn, VersionId=old)


@contextmanager
def key_without_the_role(deployed: Deployed, region: str) -> Iterator[None]:
    """Remove the statement for the API's role from the key's policy."""
    undo = key_policy(deployed, region, "ApiRole")
    try:
        yield
    finally:
        undo()


@contextmanager
def without(deployed: Deployed, region: str, permission: str) -> Iterator[None]:
    """Remove a permission of the API's role. The key and the role both grant the permission for the key."""
    with ExitStack() as stack:
        stack.enter_context(role_without(deployed, region, permission))
        if permission == "Key":
            stack.enter_context(key_without_the_role(deployed, region))
        yield


@pytest.mark.requirement("C6", "C5")
@pytest.mark.parametrize("sid", ["Records", "Audit", "Key"])
def test_api_fails_without_a_permission(
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
    """Wait until /health returns this status, and return its body. The API caches the result for some seconds."""
    answers: list[httpx.Response] = []

    def has_status() -> bool:
        answers.append(client.get("/health"))
        return answers[-1].status_code == status

    eventually(has_status)
    return answers[-1].json()


@pytest.mark.requirement("C6", "R1.3")
def test_api_cannot_change_or_delete_audit_items(deployed: Deployed, region: str, as_api_role: Attempt) -> None:
    table, key = deployed.names.audit_table, {"pk": {"S": "clinic-a#x"}, "sk": {"S": "x"}}
    assert as_api_role(region, "dynamodb", "put_item", TableName=table, Item=key) == "allowed"
    for call, more in (
        ("delete_item", {"Key": key}),
        ("update_item", {"Key": key, "UpdateExpression": "REMOVE outcome"}),
        ("scan", {}),
    ):
        assert "AccessDenied" in as_api_role(region, "dynamodb", call, TableName=table, **more)


@pytest.mark.requirement("C6")
def test_api_cannot_delete_records_or_use_control_planes(deployed: Deployed, region: str, as_api_role: Attempt) -> None:
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
        outcome = as_api_role(region, service, call, **arguments)
        assert "Denied" in outcome or "UnauthorizedOperation" in outcome, f"{service} {call}: {outcome}"


@pytest.mark.requirement("R2.3", "R5.2")
@pytest.mark.trap(36)
def test_peer_role_reads_and_writes_documents(
    deployed: Deployed, region: str, other_region: str, as_api_role: Attempt
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
def test_only_functions_of_the_peer_assume_the_role(deployed: Deployed, region: str, as_api_role: Attempt) -> None:
    own = f"arn:aws:iam::{deployed.account()}:role/{deployed.names.of('documents-peer', region)}"
    try:
        outcome = as_api_role(region, "s3", "list_objects_v2", assume=own, Bucket=deployed.bucket(region))
    except ClientError as error:
        outcome = str(error)
    assert "AccessDenied" in outcome

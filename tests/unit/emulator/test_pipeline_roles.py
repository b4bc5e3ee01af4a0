"""The roles of the deployment pipeline, enforced by the embedded AWS: what they must not be able to do."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from healthcare_dr.infra import synth
from healthcare_dr.naming import PIPELINE, Names
from healthcare_dr.settings import load_settings
from support.github_tokens import ISSUER, REPOSITORY, SUBJECTS, subject_of, token
from unit.emulator.aws import ACCOUNT, EAST, Aws, allow, document, error_code, is_denied

STATE = "healthcare-dr-state"


@pytest.fixture(scope="module")
def names() -> Names:
    return Names(f"p{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def installed(patched: Aws, names: Names, tmp_path_factory: pytest.TempPathFactory) -> Aws:
    """Create the roles of the synthesized stack, and a table with an item of a patient."""
    settings = load_settings(environment_suffix=names.suffix, github_repository=REPOSITORY, state_bucket=STATE)
    folder: Path = tmp_path_factory.mktemp("pipeline")
    text = (synth(settings, folder).folder(PIPELINE) / "cdk.tf.json").read_text(encoding="utf-8")
    text = text.replace("${data.aws_caller_identity.account.account_id}", ACCOUNT)
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
    created: dict[str, dict[str, Any]] = json.loads(
        text.replace("${aws_iam_openid_connect_provider.github.arn}", provider)
    )["resource"]
    iam = patched("iam")
    iam.create_open_id_connect_provider(Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"])
    for body in created["aws_iam_policy"].values():
        iam.create_policy(PolicyName=body["name"], PolicyDocument=body["policy"])
    for body in created["aws_iam_role"].values():
        iam.create_role(RoleName=body["name"], AssumeRolePolicyDocument=body["assume_role_policy"])
    for body in created["aws_iam_role_policy_attachment"].values():
        role = created["aws_iam_role"][body["role"].split(".")[1]]["name"]
        policy = created["aws_iam_policy"][body["policy_arn"].split(".")[1]]["name"]
        iam.attach_role_policy(RoleName=role, PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy/{policy}")
    patched.table(name=names.records_table, keys=("pk", "sk"))
    patched("dynamodb").put_item(
        TableName=names.records_table,
        Item={"pk": {"S": "clinic#1"}, "sk": {"S": "v#1"}, "resource": {"S": "phi"}, "completed": {"S": "now"}},
    )
    return patched


def session(aws: Aws, names: Names, role: str, jwt: str) -> dict[str, str]:
    arn = f"arn:aws:iam::{ACCOUNT}:role/{names.of_pipeline(role)}"
    found = aws("sts").assume_role_with_web_identity(RoleArn=arn, RoleSessionName=role, WebIdentityToken=jwt)
    return dict(found["Credentials"])


class Caller:
    """The clients of one role of the pipeline."""

    def __init__(self, aws: Aws, names: Names, role: str) -> None:
        self._aws = aws
        self._credentials = session(aws, names, role, token(subject_of(role)))

    def __call__(self, service: str, region: str = EAST) -> Any:
        return self._aws(service, region, credentials=self._credentials)


@pytest.fixture(scope="module")
def callers(installed: Aws, names: Names) -> dict[str, Caller]:
    return {role: Caller(installed, names, role) for role in SUBJECTS}


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("role", SUBJECTS)
def test_role_is_assumed_with_its_own_subject_only(installed: Aws, names: Names, role: str) -> None:
    assert session(installed, names, role, token(subject_of(role)))["SessionToken"]
    others = [f"repo:{REPOSITORY}:{context}" for name, context in SUBJECTS.items() if name != role]
    others += [f"repo:octo-org/other:{SUBJECTS[role]}", f"repo:{REPOSITORY}:{SUBJECTS[role]}x", "repo:*"]
    for subject in others:
        with pytest.raises(ClientError, match="Not authorized to perform sts:AssumeRoleWithWebIdentity"):
            session(installed, names, role, token(subject))
    with pytest.raises(ClientError, match="Not authorized"):
        session(installed, names, role, token(subject_of(role), audience="other"))


def trust() -> str:
    return document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}})


@pytest.mark.requirement("C6")
def test_deploy_role_creates_roles_within_the_boundary_only(callers: dict[str, Caller], names: Names) -> None:
    iam = callers["deploy"]("iam")
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/{names.of_pipeline('boundary')}"
    created = {"RoleName": names.of("sentinel", EAST), "AssumeRolePolicyDocument": trust()}
    everything = {"PolicyName": "all", "PolicyDocument": document(allow("*"))}
    administrator = "arn:aws:iam::aws:policy/AdministratorAccess"
    assert is_denied(iam.create_role, **created)
    assert is_denied(iam.create_role, **created, PermissionsBoundary=administrator)
    assert is_denied(iam.create_role, **created | {"RoleName": "other"}, PermissionsBoundary=boundary)
    assert not is_denied(iam.create_role, **created, PermissionsBoundary=boundary)
    name = created["RoleName"]
    assert not is_denied(iam.put_role_policy, RoleName=name, **everything)
    assert is_denied(iam.attach_role_policy, RoleName=name, PolicyArn=administrator)
    assert is_denied(iam.delete_role_permissions_boundary, RoleName=name)
    assert is_denied(iam.put_role_permissions_boundary, RoleName=name, PermissionsBoundary=administrator)


@pytest.mark.requirement("C6")
def test_role_that_the_deploy_role_created_stays_within_the_boundary(installed: Aws, names: Names) -> None:
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/{names.of_pipeline('boundary')}"
    arn = installed.role(f"within-{names.suffix}", allow("*"))
    installed("iam").put_role_permissions_boundary(RoleName=f"within-{names.suffix}", PermissionsBoundary=boundary)
    credentials = installed.session(arn)
    item = {"TableName": names.records_table, "Key": {"pk": {"S": "clinic#1"}, "sk": {"S": "v#1"}}}
    assert not is_denied(installed("dynamodb", credentials=credentials).get_item, **item)
    assert is_denied(installed("dynamodb", credentials=credentials).delete_item, **item)
    assert is_denied(installed("iam", credentials=credentials).list_roles)
    assert is_denied(installed("lambda", credentials=credentials).list_functions)


@pytest.mark.requirement("C6")
def test_deploy_role_cannot_change_itself(callers: dict[str, Caller], names: Names) -> None:
    iam, own = callers["deploy"]("iam"), names.of_pipeline("deploy")
    policy = f"arn:aws:iam::{ACCOUNT}:policy/{names.of_pipeline('boundary')}"
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
    everything = document(allow("*"))
    assert is_denied(iam.put_role_policy, RoleName=own, PolicyName="all", PolicyDocument=everything)
    assert is_denied(iam.update_assume_role_policy, RoleName=own, PolicyDocument=trust())
    assert is_denied(iam.attach_role_policy, RoleName=own, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    assert is_denied(iam.create_policy_version, PolicyArn=policy, PolicyDocument=everything, SetAsDefault=True)
    assert is_denied(iam.delete_policy, PolicyArn=policy)
    assert is_denied(iam.add_client_id_to_open_id_connect_provider, OpenIDConnectProviderArn=provider, ClientID="other")
    assert is_denied(iam.create_user, UserName="other")


@pytest.mark.requirement("C6")
def test_deploy_role_cannot_assume_a_role_that_trusts_it(
    installed: Aws, callers: dict[str, Caller], names: Names
) -> None:
    own = f"arn:aws:iam::{ACCOUNT}:role/{names.of_pipeline('deploy')}"
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/{names.of_pipeline('boundary')}"
    trusting = document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": own}})
    deploy, name = callers["deploy"], names.of("trusting", EAST)
    created = deploy("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trusting, PermissionsBoundary=boundary)[
        "Role"
    ]
    assert is_denied(deploy("iam").update_assume_role_policy, RoleName=name, PolicyDocument=trusting)
    # On AWS, the trust alone permits it within an account. The embedded AWS requires a permission as well.
    permission = {"RoleName": names.of_pipeline("deploy"), "PolicyName": "assumes"}
    installed("iam").put_role_policy(**permission, PolicyDocument=document(allow("sts:AssumeRole")))
    try:
        assert is_denied(deploy("sts").assume_role, RoleArn=created["Arn"], RoleSessionName="other")
    finally:
        installed("iam").delete_role_policy(**permission)


@pytest.mark.requirement("C6")
def test_deploy_role_keeps_evidence_and_protection(callers: dict[str, Caller], names: Names) -> None:
    deploy = callers["deploy"]
    logs, functions, access = deploy("logs"), names.lambda_log_group(names.of("x", EAST)), names.log_group("access")
    assert not is_denied(logs.create_log_group, logGroupName=functions)
    assert not is_denied(logs.put_retention_policy, logGroupName=functions, retentionInDays=1)
    assert not is_denied(logs.delete_log_group, logGroupName=functions)
    assert is_denied(logs.put_retention_policy, logGroupName=access, retentionInDays=1)
    assert is_denied(logs.delete_log_group, logGroupName=access)
    table = names.records_table
    expiry = {"Enabled": True, "AttributeName": "pk"}
    assert is_denied(deploy("dynamodb").update_time_to_live, TableName=table, TimeToLiveSpecification=expiry)
    recovery = {"PointInTimeRecoveryEnabled": False}
    assert is_denied(
        deploy("dynamodb").update_continuous_backups, TableName=table, PointInTimeRecoverySpecification=recovery
    )
    assert is_denied(deploy("cloudtrail").stop_logging, Name=names.of("data-events"))
    bucket = names.documents_bucket(ACCOUNT, EAST)
    suspended = {"Status": "Suspended"}
    assert is_denied(deploy("s3").put_bucket_versioning, Bucket=bucket, VersioningConfiguration=suspended)


@pytest.mark.requirement("C6", "R7.2")
def test_permissions_for_recipients_do_not_depend_on_settings(
    installed: Aws, callers: dict[str, Caller], names: Names
) -> None:
    parameter = {"Name": names.of("webhooks"), "Value": "https://hooks.example.com/services/key"}
    assert not is_denied(callers["deploy"]("ssm").put_parameter, **parameter, Type="String")
    for role, caller in callers.items():
        assert not is_denied(caller("ssm").get_parameter, Name=parameter["Name"])
        assert is_denied(caller("ssm").get_parameter, Name="other")
        assert is_denied(caller("ssm").put_parameter, **parameter, Type="String", Overwrite=True) is (role != "deploy")
    queue = callers["deploy"]("sqs").create_queue(QueueName=names.of("undelivered"))["QueueUrl"]
    assert is_denied(callers["deploy"]("sqs").receive_message, QueueUrl=queue)
    assert not is_denied(callers["deploy"]("sqs").delete_queue, QueueUrl=queue)


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("role", SUBJECTS)
def test_no_role_reads_or_changes_items_of_patients(callers: dict[str, Caller], names: Names, role: str) -> None:
    dynamodb, table = callers[role]("dynamodb"), names.records_table
    key = {"pk": {"S": "clinic#1"}, "sk": {"S": "v#1"}}
    assert is_denied(dynamodb.get_item, TableName=table, Key=key)
    assert is_denied(dynamodb.get_item, TableName=table, Key=key, ProjectionExpression="resource")
    assert is_denied(dynamodb.put_item, TableName=table, Item=key)
    assert is_denied(dynamodb.delete_item, TableName=table, Key=key)
    assert is_denied(dynamodb.scan, TableName=table)
    assert is_denied(dynamodb.delete_table, TableName=table)
    query = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": "clinic#1"}}}
    assert is_denied(dynamodb.query, TableName=table, **query)


@pytest.mark.requirement("C6")
def test_verify_role_reads_heartbeats_and_no_other_items(callers: dict[str, Caller], names: Names) -> None:
    dynamodb, table = callers["verify"]("dynamodb"), names.records_table
    key = {"pk": {"S": "clinic#1"}, "sk": {"S": "v#1"}}
    assert is_denied(dynamodb.get_item, TableName=table, Key=key, ProjectionExpression="version")
    assert not is_denied(
        dynamodb.get_item, TableName=table, Key={"pk": {"S": "$platform#heartbeat"}, "sk": {"S": EAST}}
    )


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("role", ["plan", "verify"])
def test_reading_roles_change_nothing(callers: dict[str, Caller], names: Names, role: str) -> None:
    caller = callers[role]
    assert not is_denied(caller("dynamodb").describe_table, TableName=names.records_table)
    assert is_denied(caller("dynamodb").tag_resource, ResourceArn=table_arn(names), Tags=[{"Key": "a", "Value": "b"}])
    assert is_denied(caller("iam").create_role, RoleName=names.of("x", EAST), AssumeRolePolicyDocument=trust())
    assert error_code(caller("sns").create_topic, Name=names.of("operations")) == "AuthorizationError"
    assert is_denied(caller("logs").create_log_group, logGroupName=names.log_group("x"))
    assert is_denied(caller("kms").create_key)
    assert is_denied(caller("s3").create_bucket, Bucket=names.documents_bucket(ACCOUNT, EAST))
    assert error_code(caller("ec2").create_vpc, CidrBlock="10.0.0.0/16") == "UnauthorizedOperation"


@pytest.mark.requirement("C6")
def test_state_is_locked_by_all_and_written_by_the_deploy_role(
    installed: Aws, callers: dict[str, Caller], names: Names
) -> None:
    region = "us-west-2"
    root = installed("s3", region)
    root.create_bucket(Bucket=STATE, CreateBucketConfiguration={"LocationConstraint": region})
    state, own = f"{names.suffix}/healthcare-dr-global.tfstate", f"{names.suffix}/{PIPELINE}.tfstate"
    root.put_object(Bucket=STATE, Key=state, Body=b"{}")
    for role, caller in callers.items():
        s3 = caller("s3", region)
        assert not is_denied(s3.get_object, Bucket=STATE, Key=state)
        assert not is_denied(s3.put_object, Bucket=STATE, Key=f"{state}.tflock", Body=b"{}")
        assert not is_denied(s3.delete_object, Bucket=STATE, Key=f"{state}.tflock")
        assert is_denied(s3.put_object, Bucket=STATE, Key=state, Body=b"{}") is (role != "deploy")
        assert is_denied(s3.put_object, Bucket=STATE, Key=own, Body=b"{}")
        assert is_denied(s3.get_object, Bucket=STATE, Key="other/healthcare-dr-global.tfstate")
        assert is_denied(s3.delete_object, Bucket=STATE, Key=state)


def table_arn(names: Names) -> str:
    return f"arn:aws:dynamodb:{EAST}:{ACCOUNT}:table/{names.records_table}"

"""Tests of IAM: the caller's identity in policies, and cached policies, whose changes apply to the next request."""

import uuid
from typing import Any

import pytest
from ministack.core import iam_actions, iam_evaluator

from healthcare_dr.emulator.patches import iam
from unit.emulator.aws import ACCOUNT, EAST, ROOT, Aws, allow, document, error_code, is_denied, only_when_patched

ALLOW = allow("*")
DENY = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}


@pytest.mark.trap(36)
@only_when_patched
def test_principal_arn_condition_matches_the_role(aws: Aws) -> bool:
    caller = aws.role("api", allow("sts:AssumeRole"))
    condition = {"ArnEquals": {"aws:PrincipalArn": caller}}
    target = aws.role("peer-documents", trust={**ROOT, "Condition": condition})
    theirs = aws("sts", credentials=aws.session(caller))
    return not is_denied(theirs.assume_role, RoleArn=target, RoleSessionName="test")


@pytest.mark.parametrize(("key", "secret"), [(ACCOUNT, "wrong"), ("999999999999", "any"), ("test", "test")])
@only_when_patched
def test_root_request_with_wrong_secret_is_rejected(aws: Aws, key: str, secret: str) -> bool:
    assert aws("sts").get_caller_identity()["Arn"] == ROOT["Principal"]["AWS"]
    stranger = aws("iam", credentials={"AccessKeyId": key, "SecretAccessKey": secret})
    return error_code(stranger.list_roles) in ("SignatureDoesNotMatch", "InvalidClientTokenId")


class Caller:
    """The session of a role, and a table that it reads and writes."""

    def __init__(self, aws: Aws, *statements: dict[str, Any]) -> None:
        self.name = f"caller-{uuid.uuid4().hex}"
        self.role = aws.role(self.name, *statements)
        self.session = aws.session(self.role)
        self.dynamodb = aws("dynamodb", credentials=self.session)
        aws.table(name=self.name)

    def may_read(self) -> bool:
        return not is_denied(self.dynamodb.get_item, TableName=self.name, Key={"pk": {"S": "a"}})

    def may_write(self, *actions: str) -> bool:
        item = {"TableName": self.name, "Item": {"pk": {"S": "a"}}}
        key = {"TableName": self.name, "Key": {"pk": {"S": "b"}}}
        writes = {"Put": item, "Delete": key}
        items = [{action: writes[action]} for action in actions]
        return not is_denied(self.dynamodb.transact_write_items, TransactItems=items)


def test_role_policy_change_applies_to_the_next_request(patched: Aws) -> None:
    caller, iam = Caller(patched, ALLOW), patched("iam")
    assert caller.may_read()
    for _ in range(2):
        iam.put_role_policy(RoleName=caller.name, PolicyName="denied", PolicyDocument=document(DENY))
        assert not caller.may_read()
        iam.delete_role_policy(RoleName=caller.name, PolicyName="denied")
        assert caller.may_read()
    iam.delete_role_policy(RoleName=caller.name, PolicyName="all")
    assert not caller.may_read()


def test_managed_policy_version_applies_to_the_next_request(patched: Aws) -> None:
    caller, iam = Caller(patched), patched("iam")
    policy = iam.create_policy(PolicyName=caller.name, PolicyDocument=document(ALLOW))["Policy"]["Arn"]
    assert not caller.may_read()
    iam.attach_role_policy(RoleName=caller.name, PolicyArn=policy)
    assert caller.may_read()
    for statement, expected in ((DENY, False), (ALLOW, True)):
        iam.create_policy_version(PolicyArn=policy, PolicyDocument=document(statement), SetAsDefault=True)
        assert caller.may_read() is expected
    limit = iam.create_policy(PolicyName=f"{caller.name}-limit", PolicyDocument=document(ALLOW))["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName=caller.name, PermissionsBoundary=limit)
    assert caller.may_read()
    iam.create_policy_version(PolicyArn=limit, PolicyDocument=document(DENY), SetAsDefault=True)
    assert not caller.may_read()
    iam.delete_role_permissions_boundary(RoleName=caller.name)
    assert caller.may_read()
    iam.detach_role_policy(RoleName=caller.name, PolicyArn=policy)
    assert not caller.may_read()


def test_resource_policy_change_applies_to_the_next_request(patched: Aws) -> None:
    caller, s3, kms = Caller(patched, ALLOW), patched("s3"), patched("kms")
    s3.create_bucket(Bucket=caller.name)
    theirs = patched("s3", credentials=caller.session)
    denied = {**DENY, "Action": "s3:*", "Resource": f"arn:aws:s3:::{caller.name}/*", "Principal": "*"}
    assert not is_denied(theirs.put_object, Bucket=caller.name, Key="a", Body=b"")
    for _ in range(2):
        s3.put_bucket_policy(Bucket=caller.name, Policy=document(denied))
        assert is_denied(theirs.put_object, Bucket=caller.name, Key="a", Body=b"")
        s3.delete_bucket_policy(Bucket=caller.name)
        assert not is_denied(theirs.put_object, Bucket=caller.name, Key="a", Body=b"")
    root = {"Effect": "Allow", "Action": "kms:*", "Resource": "*", **ROOT}
    refusing = {"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*", "Principal": {"AWS": caller.role}}
    key = kms.create_key(Policy=document(root))["KeyMetadata"]["KeyId"]
    encrypt = patched("kms", credentials=caller.session).encrypt
    assert not is_denied(encrypt, KeyId=key, Plaintext=b"a")
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=document(root, refusing))
    assert is_denied(encrypt, KeyId=key, Plaintext=b"a")
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=document(root))
    assert not is_denied(encrypt, KeyId=key, Plaintext=b"a")


def test_each_action_of_a_transaction_is_authorized(patched: Aws) -> None:
    caller = Caller(patched, {**ALLOW, "Action": "dynamodb:PutItem"})
    assert caller.may_write("Put")
    assert not caller.may_write("Put", "Delete")
    assert not caller.may_write("Delete", "Put")


def test_transaction_is_authorized_once_per_table_and_action(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [("dynamodb:PutItem", "a"), ("dynamodb:PutItem", "a"), ("dynamodb:PutItem", "b")]
    monkeypatch.setattr(iam_actions, "dynamodb_transaction_checks", lambda *_: checks)
    iam.authorize_transactions_once()
    assert iam_actions.dynamodb_transaction_checks("TransactWriteItems", b"{}", EAST, ACCOUNT) == checks[1:]


def test_principal_tag_conditions_are_evaluated(patched: Aws) -> None:
    tagged = {"StringEquals": {"aws:PrincipalTag/team": "records"}}
    caller, iam = Caller(patched, {**ALLOW, "Condition": tagged}), patched("iam")
    assert not caller.may_read()
    iam.tag_role(RoleName=caller.name, Tags=[{"Key": "team", "Value": "records"}])
    assert caller.may_read()
    iam.untag_role(RoleName=caller.name, TagKeys=["team"])
    assert not caller.may_read()


@pytest.fixture
def evaluator(restored: None) -> Any:
    """The evaluator of ministack in this process, which is restored after the test."""
    return iam_evaluator


def test_policy_is_parsed_once_and_its_actions_are_compared_once(evaluator: Any) -> None:
    iam.cache_parsed_policies()
    text = document(ALLOW, DENY)
    parsed = evaluator.parse_policy_document(text)
    assert evaluator.parse_policy_document(document(ALLOW, DENY)) is parsed
    assert evaluator.parse_policy_document(document(ALLOW)) is not parsed
    assert parsed.naming("dynamodb:GetItem", "Deny") is parsed.naming("dynamodb:GetItem", "Deny")
    assert parsed.naming("s3:GetObject", "Deny") == ()


@pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": f"arn:aws:iam::{ACCOUNT}:role/r"}, {"AWS": ACCOUNT}])
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
@pytest.mark.parametrize("caller", ["role/r", "role/other"])
def test_resource_policies_are_evaluated_like_ministack(
    evaluator: Any, principal: Any, effect: str, caller: str
) -> None:
    context = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-{caller}/session",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action="s3:GetObject",
        resource_arn="arn:aws:s3:::bucket/key",
        region="us-east-1",
    )
    text = document({"Effect": effect, "Principal": principal, "Action": "s3:Get*", "Resource": "*"})
    options: list[dict[str, Any]] = [{}, {"named_only": True}, {"direct_only": True}, {"service": "s3.amazonaws.com"}]

    def decisions() -> list[str]:
        return [evaluator.evaluate_resource_policy(text, context, **one).decision for one in options]

    expected = decisions()
    iam.cache_parsed_policies()
    assert decisions() == decisions() == expected


def bounded(aws: Aws, *actions: str) -> tuple[Any, str]:
    """Return an IAM client that may use the actions on roles with a boundary only, and the boundary."""
    boundary = aws("iam").create_policy(
        PolicyName=f"boundary-{uuid.uuid4().hex}", PolicyDocument=document(allow("s3:GetObject"))
    )["Policy"]["Arn"]
    condition = {"StringEquals": {"iam:PermissionsBoundary": boundary}}
    caller = aws.role(f"deployer-{uuid.uuid4().hex}", allow(*actions, Condition=condition))
    return aws("iam", credentials=aws.session(caller)), boundary


@only_when_patched
def test_creation_of_a_role_depends_on_its_boundary(aws: Aws) -> bool:
    iam, boundary = bounded(aws, "iam:CreateRole")
    trust = document({"Effect": "Allow", "Action": "sts:AssumeRole", **ROOT})
    name = uuid.uuid4().hex
    assert is_denied(iam.create_role, RoleName=name, AssumeRolePolicyDocument=trust)
    return not is_denied(iam.create_role, RoleName=name, AssumeRolePolicyDocument=trust, PermissionsBoundary=boundary)


@only_when_patched
def test_permissions_of_a_role_depend_on_its_boundary(aws: Aws) -> bool:
    iam, boundary = bounded(aws, "iam:PutRolePolicy")
    free, limited = uuid.uuid4().hex, uuid.uuid4().hex
    aws.role(free)
    aws.role(limited)
    aws("iam").put_role_permissions_boundary(RoleName=limited, PermissionsBoundary=boundary)
    policy = {"PolicyName": "all", "PolicyDocument": document(ALLOW)}
    assert is_denied(iam.put_role_policy, RoleName=free, **policy)
    return not is_denied(iam.put_role_policy, RoleName=limited, **policy)


@only_when_patched
def test_attachment_depends_on_the_policy(aws: Aws) -> bool:
    named = aws("iam").create_policy(PolicyName=uuid.uuid4().hex, PolicyDocument=document(ALLOW))["Policy"]["Arn"]
    condition = {"ArnLike": {"iam:PolicyARN": named}}
    caller = aws.role(f"attacher-{uuid.uuid4().hex}", allow("iam:AttachRolePolicy", Condition=condition))
    iam, role = aws("iam", credentials=aws.session(caller)), uuid.uuid4().hex
    aws.role(role)
    administrator = "arn:aws:iam::aws:policy/AdministratorAccess"
    assert is_denied(iam.attach_role_policy, RoleName=role, PolicyArn=administrator)
    return not is_denied(iam.attach_role_policy, RoleName=role, PolicyArn=named)


@only_when_patched
def test_records_depend_on_their_names(aws: Aws) -> bool:
    zone = aws("route53").create_hosted_zone(Name="example.org", CallerReference=uuid.uuid4().hex)["HostedZone"]["Id"]
    key = "route53:ChangeResourceRecordSetsNormalizedRecordNames"
    condition = {"ForAllValues:StringLike": {key: ["*.api.example.org"]}, "Null": {key: "false"}}
    caller = aws.role(f"dns-{uuid.uuid4().hex}", allow("route53:ChangeResourceRecordSets", Condition=condition))
    route53 = aws("route53", credentials=aws.session(caller))

    def change(name: str) -> dict[str, Any]:
        record = {"Name": name, "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": '"x"'}]}
        return {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}

    assert is_denied(route53.change_resource_record_sets, HostedZoneId=zone, ChangeBatch=change("www.example.org"))
    return not is_denied(
        route53.change_resource_record_sets, HostedZoneId=zone, ChangeBatch=change("a.api.example.org")
    )


@pytest.mark.parametrize(
    ("service", "call", "action", "resource", "arguments"),
    [
        ("iam", "create_policy", "iam:CreatePolicy", "iam::{account}:policy/named-{id}",
         {"PolicyName": "named-{id}", "PolicyDocument": document(ALLOW)}),
        ("events", "put_rule", "events:PutRule", "events:{region}:{account}:rule/named-{id}",
         {"Name": "named-{id}", "ScheduleExpression": "rate(1 minute)"}),
        ("events", "list_targets_by_rule", "events:ListTargetsByRule", "events:{region}:{account}:rule/named-{id}",
         {"Rule": "named-{id}", "EventBusName": "default"}),
        ("iam", "simulate_principal_policy", "iam:SimulatePrincipalPolicy", "iam::{account}:role/named-{id}",
         {"PolicySourceArn": "arn:aws:iam::{account}:role/named-{id}", "ActionNames": ["s3:GetObject"]}),
        ("lambda", "get_alias", "lambda:GetAlias", "lambda:{region}:{account}:function:named-{id}",
         {"FunctionName": "named-{id}", "Name": "live"}),
        ("lambda", "get_function_concurrency", "lambda:GetFunctionConcurrency",
         "lambda:{region}:{account}:function:named-{id}", {"FunctionName": "named-{id}"}),
        ("ec2", "create_vpc", "ec2:CreateVpc", "ec2:{region}:{account}:*/*", {"CidrBlock": "10.0.0.0/16"}),
        ("cloudwatch", "put_dashboard", "cloudwatch:PutDashboard", "cloudwatch::{account}:dashboard/named-{id}",
         {"DashboardName": "named-{id}", "DashboardBody": "{{}}"}),
        ("cloudwatch", "delete_alarms", "cloudwatch:DeleteAlarms", "cloudwatch:{region}:{account}:alarm:named-{id}",
         {"AlarmNames": ["named-{id}"]}),
        ("sns", "list_tags_for_resource", "sns:ListTagsForResource", "sns:{region}:{account}:named-{id}",
         {"ResourceArn": "arn:aws:sns:{region}:{account}:named-{id}"}),
        ("cloudtrail", "list_tags", "cloudtrail:ListTags", "cloudtrail:{region}:{account}:trail/named-{id}",
         {"ResourceIdList": ["arn:aws:cloudtrail:{region}:{account}:trail/named-{id}"]}),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)  # fmt: skip
@only_when_patched
def test_request_is_authorized_on_its_resource(
    aws: Aws, service: str, call: str, action: str, resource: str, arguments: dict[str, Any]
) -> bool:
    facts = {"account": ACCOUNT, "region": EAST, "id": uuid.uuid4().hex[:12]}

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(each) for each in value]
        return value.format(**facts) if isinstance(value, str) and "Version" not in value else value

    caller = aws.role(f"caller-{facts['id']}", allow(action, resource=f"arn:aws:{filled(resource)}"))
    client = aws(service, credentials=aws.session(caller))
    code = error_code(getattr(client, call), **{name: filled(value) for name, value in arguments.items()})
    return code not in ("AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation")

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

"""Tests of cached policies: a changed policy applies to the next request."""

import json
import uuid
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError

Clients = Callable[..., Any]

ACCOUNT = "123456789012"
TRUST = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
ALLOW = {"Effect": "Allow", "Action": "*", "Resource": "*"}
DENY = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


class Caller:
    """The session of a role, and a table that it reads and writes."""

    def __init__(self, client: Clients, make_role: Callable[..., str], *statements: dict[str, Any]) -> None:
        self.name = f"caller-{uuid.uuid4().hex}"
        self.root = client
        self.role = make_role(client, self.name, *statements, trust=TRUST)
        self.session = dict(client("sts").assume_role(RoleArn=self.role, RoleSessionName="test")["Credentials"])
        self.dynamodb = client("dynamodb", credentials=self.session)
        client("dynamodb").create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def may_read(self) -> bool:
        return allowed(self.dynamodb.get_item, TableName=self.name, Key={"pk": {"S": "a"}})

    def may_write(self, *actions: str) -> bool:
        item = {"TableName": self.name, "Item": {"pk": {"S": "a"}}}
        key = {"TableName": self.name, "Key": {"pk": {"S": "b"}}}
        writes = {"Put": item, "Delete": key}
        return allowed(
            self.dynamodb.transact_write_items, TransactItems=[{action: writes[action]} for action in actions]
        )


def allowed(call: Callable[..., Any], **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "AccessDeniedException"):
            raise
        return False
    return True


def test_role_policy_change_applies_to_the_next_request(patched: Clients, make_role: Callable[..., str]) -> None:
    caller, iam = Caller(patched, make_role, ALLOW), patched("iam")
    assert caller.may_read()
    for _ in range(2):
        iam.put_role_policy(RoleName=caller.name, PolicyName="denied", PolicyDocument=document(DENY))
        assert not caller.may_read()
        iam.delete_role_policy(RoleName=caller.name, PolicyName="denied")
        assert caller.may_read()
    iam.delete_role_policy(RoleName=caller.name, PolicyName="all")
    assert not caller.may_read()


def test_managed_policy_version_applies_to_the_next_request(patched: Clients, make_role: Callable[..., str]) -> None:
    caller, iam = Caller(patched, make_role), patched("iam")
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


def test_resource_policy_change_applies_to_the_next_request(patched: Clients, make_role: Callable[..., str]) -> None:
    caller, s3, kms = Caller(patched, make_role, ALLOW), patched("s3"), patched("kms")
    s3.create_bucket(Bucket=caller.name)
    theirs = patched("s3", credentials=caller.session)
    denied = {**DENY, "Action": "s3:*", "Resource": f"arn:aws:s3:::{caller.name}/*", "Principal": "*"}
    assert allowed(theirs.put_object, Bucket=caller.name, Key="a", Body=b"")
    for _ in range(2):
        s3.put_bucket_policy(Bucket=caller.name, Policy=document(denied))
        assert not allowed(theirs.put_object, Bucket=caller.name, Key="a", Body=b"")
        s3.delete_bucket_policy(Bucket=caller.name)
        assert allowed(theirs.put_object, Bucket=caller.name, Key="a", Body=b"")
    root = {"Effect": "Allow", "Action": "kms:*", "Resource": "*", **TRUST}
    refusing = {"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*", "Principal": {"AWS": caller.role}}
    key = kms.create_key(Policy=document(root))["KeyMetadata"]["KeyId"]
    encrypt = patched("kms", credentials=caller.session).encrypt
    assert allowed(encrypt, KeyId=key, Plaintext=b"a")
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=document(root, refusing))
    assert not allowed(encrypt, KeyId=key, Plaintext=b"a")
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=document(root))
    assert allowed(encrypt, KeyId=key, Plaintext=b"a")


def test_each_action_of_a_transaction_is_authorized(patched: Clients, make_role: Callable[..., str]) -> None:
    caller = Caller(patched, make_role, {**ALLOW, "Action": "dynamodb:PutItem"})
    assert caller.may_write("Put")
    assert not caller.may_write("Put", "Delete")
    assert not caller.may_write("Delete", "Put")


def test_principal_tag_conditions_are_evaluated(patched: Clients, make_role: Callable[..., str]) -> None:
    tagged = {"StringEquals": {"aws:PrincipalTag/team": "records"}}
    caller, iam = Caller(patched, make_role, {**ALLOW, "Condition": tagged}), patched("iam")
    assert not caller.may_read()
    iam.tag_role(RoleName=caller.name, Tags=[{"Key": "team", "Value": "records"}])
    assert caller.may_read()
    iam.untag_role(RoleName=caller.name, TagKeys=["team"])
    assert not caller.may_read()


@pytest.fixture
def evaluator() -> Iterator[ModuleType]:
    """Patch ministack's evaluator in this process during a test."""
    from ministack.core import iam_evaluator

    from healthcare_dr.emulator.patches import iam

    names = ("parse_policy_document", "evaluate", "evaluate_resource_policy", "_names_condition_key")
    before = {name: getattr(iam_evaluator, name) for name in names}
    iam.cache_parsed_policies()
    yield iam_evaluator
    for name, value in before.items():
        setattr(iam_evaluator, name, value)


def test_policy_is_parsed_once_and_its_actions_are_compared_once(evaluator: ModuleType) -> None:
    text = document(ALLOW, DENY)
    parsed = evaluator.parse_policy_document(text)
    assert evaluator.parse_policy_document(document(ALLOW, DENY)) is parsed
    assert evaluator.parse_policy_document(document(ALLOW)) is not parsed
    assert parsed.naming("dynamodb:GetItem", "Deny") is parsed.naming("dynamodb:GetItem", "Deny")
    assert parsed.naming("s3:GetObject", "Deny") == ()


@pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": f"arn:aws:iam::{ACCOUNT}:role/r"}, {"AWS": ACCOUNT}])
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
@pytest.mark.parametrize("caller", ["role/r", "role/other"])
def test_resource_policies_are_evaluated_like_ministack(principal: Any, effect: str, caller: str) -> None:
    from ministack.core import iam_evaluator

    from healthcare_dr.emulator.patches import iam

    assumed = f"arn:aws:sts::{ACCOUNT}:assumed-{caller}/session"
    context = iam_evaluator.EvalContext(
        principal_arn=assumed,
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action="s3:GetObject",
        resource_arn="arn:aws:s3:::bucket/key",
        region="us-east-1",
    )
    text = document({"Effect": effect, "Principal": principal, "Action": "s3:Get*", "Resource": "*"})
    names = ("parse_policy_document", "evaluate", "evaluate_resource_policy", "_names_condition_key")
    before = {name: getattr(iam_evaluator, name) for name in names}
    options: tuple[dict[str, Any], ...] = (
        {},
        {"named_only": True},
        {"direct_only": True},
        {"service": "s3.amazonaws.com"},
    )
    expected = [iam_evaluator.evaluate_resource_policy(text, context, **one).decision for one in options]
    iam.cache_parsed_policies()
    try:
        for _ in range(2):
            found = [iam_evaluator.evaluate_resource_policy(text, context, **one).decision for one in options]
            assert found == expected
    finally:
        for name, value in before.items():
            setattr(iam_evaluator, name, value)

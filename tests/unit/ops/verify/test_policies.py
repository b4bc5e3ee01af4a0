"""Compare policies by meaning."""

import json
from typing import Any

import pytest

from healthcare_dr.ops.verify.policies import allows, differences, requires_tls

BUCKET = "arn:aws:s3:::b"
TLS = {"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": ["s3:*"], "Resource": [BUCKET, f"{BUCKET}/*"],
       "Condition": {"Bool": {"aws:SecureTransport": "false"}}}  # fmt: skip
READ = {"Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}


def policy(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def test_order_of_lists_and_single_items_are_equivalent() -> None:
    written = READ | {"Action": ["s3:ListBucket", "s3:GetObject"], "Resource": ["*"]}
    assert list(differences(json.dumps(policy(READ)), policy(written))) == []
    assert list(differences(policy(TLS), policy(TLS | {"Principal": {"AWS": "*"}}))) == []


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        (policy(TLS), ["the statement Read is missing"]),
        (policy(TLS, READ | {"Effect": "Deny"}), ["the statement Read has changed"]),
        (policy(TLS, READ | {"Condition": {"Bool": {"a": "true"}}}), ["the statement Read has changed"]),
        (policy(TLS, READ, READ | {"Sid": "More"}), ["the statement More has been added"]),
        (policy(TLS | {"Principal": {"AWS": "AROAEXAMPLE"}}, READ), ["the statement Tls has changed"]),
    ],
)
def test_changed_statement_is_named(found: dict[str, Any], changes: list[str]) -> None:
    assert list(differences(policy(TLS, READ), found)) == changes


@pytest.mark.parametrize(
    "damage",
    [
        {"Effect": "Allow"},
        {"Principal": {"AWS": "arn:aws:iam::1:root"}},
        {"Action": ["s3:GetObject"]},
        {"Resource": f"{BUCKET}/*"},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
        {"Condition": None},
    ],
)
def test_policy_requires_tls_from_every_principal_for_all_resources(damage: dict[str, Any]) -> None:
    assert requires_tls(policy(READ, TLS), BUCKET)
    assert not requires_tls(policy(READ, TLS | damage), BUCKET)


@pytest.mark.trap(17)
def test_service_is_allowed_if_it_has_every_action() -> None:
    alarms = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Resource": "*",
              "Action": ["kms:Decrypt", "kms:GenerateDataKey*"]}  # fmt: skip
    needed = ("kms:Decrypt", "kms:GenerateDataKey")
    assert allows(policy(alarms), "cloudwatch.amazonaws.com", needed)
    assert not allows(policy(alarms | {"Action": "kms:Decrypt"}), "cloudwatch.amazonaws.com", needed)
    assert not allows(policy(alarms | {"Principal": "*"}), "cloudwatch.amazonaws.com", needed)
    assert not allows(policy(alarms | {"Effect": "Deny"}), "cloudwatch.amazonaws.com", needed)

"""IAM policy documents as JSON, and the principals the platform writes them for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Statement = Mapping[str, Any]
Condition = Mapping[str, Mapping[str, str | Sequence[str]]]

# What it takes to encrypt and decrypt with a KMS key.
KEY_USE = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")


def document(*statements: Statement) -> str:
    """A policy document; keys are sorted so that the same statements give the same bytes."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, sort_keys=True)


def allow(
    sid: str,
    actions: Sequence[str],
    resources: str | Sequence[str],
    *,
    principal: Mapping[str, str | Sequence[str]] | None = None,
    condition: Condition | None = None,
) -> Statement:
    """A statement that allows; `principal` only in policies of resources."""
    return _statement("Allow", sid, actions, resources, principal, condition)


def deny_everyone(
    sid: str, actions: Sequence[str], resources: str | Sequence[str], *, condition: Condition
) -> Statement:
    """A statement that refuses every principal when the condition holds."""
    return _statement("Deny", sid, actions, resources, "*", condition)


def deny_plaintext(actions: Sequence[str], resources: Sequence[str]) -> Statement:
    """Refuse whatever does not come over TLS (45 CFR 164.312(e)(1))."""
    return deny_everyone("RefusePlaintext", actions, resources, condition={"Bool": {"aws:SecureTransport": "false"}})


def trust_service(service: str, *, account: str | None = None) -> str:
    """Return a trust policy for one AWS service, restricted to one account where the service supports it."""
    condition = {"StringEquals": {"aws:SourceAccount": account}} if account else None
    return document(_trust("TrustService", {"Service": service}, condition))


def trust_roles(account: str, roles: Sequence[str]) -> str:
    """A trust policy for roles that need not exist yet.

    A policy that names a missing role is refused, so the principal is the account and the roles are a condition.
    """
    return document(
        _trust("TrustPeer", {"AWS": account_root(account)}, {"ArnEquals": {"aws:PrincipalArn": list(roles)}})
    )


def account_root(account: str) -> str:
    """Return the account as a principal: IAM policies of the account then decide."""
    return f"arn:aws:iam::{account}:root"


def _trust(sid: str, principal: Mapping[str, str], condition: Condition | None) -> Statement:
    statement = _statement("Allow", sid, ["sts:AssumeRole"], (), principal, condition)
    return {key: value for key, value in statement.items() if key != "Resource"}


def _statement(
    effect: str,
    sid: str,
    actions: Sequence[str],
    resources: str | Sequence[str],
    principal: str | Mapping[str, str | Sequence[str]] | None,
    condition: Condition | None,
) -> Statement:
    statement: dict[str, Any] = {
        "Sid": sid,
        "Effect": effect,
        "Action": list(actions),
        "Resource": resources if isinstance(resources, str) else list(resources),
    }
    if principal is not None:
        statement["Principal"] = principal
    if condition is not None:
        statement["Condition"] = condition
    return statement

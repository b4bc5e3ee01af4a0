"""IAM policy documents as JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Statement = Mapping[str, Any]
Condition = Mapping[str, Mapping[str, str | Sequence[str]]]

# The actions that encrypting and decrypting with a KMS key need.
KEY_USE = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")


def document(*statements: Statement) -> str:
    """Return a policy document with sorted keys, so that the same statements give the same bytes."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, sort_keys=True)


def allow(
    sid: str,
    actions: Sequence[str],
    resources: str | Sequence[str],
    *,
    principal: Mapping[str, str | Sequence[str]] | None = None,
    condition: Condition | None = None,
) -> Statement:
    """Return a statement that allows actions. Only policies of resources have a `principal`."""
    return _statement("Allow", sid, actions, resources, principal, condition)


def deny(
    sid: str, actions: Sequence[str], resources: str | Sequence[str], *, condition: Condition | None = None
) -> Statement:
    """Return a statement of an identity's policy that denies actions, whatever another policy allows."""
    return _statement("Deny", sid, actions, resources, condition=condition)


def deny_everyone(
    sid: str, actions: Sequence[str], resources: str | Sequence[str], *, condition: Condition
) -> Statement:
    """Return a statement that denies every principal when the condition holds."""
    return _statement("Deny", sid, actions, resources, "*", condition)


def deny_plaintext(actions: Sequence[str], resources: Sequence[str]) -> Statement:
    """Return a statement that denies requests without TLS (45 CFR 164.312(e)(1))."""
    return deny_everyone("RefusePlaintext", actions, resources, condition={"Bool": {"aws:SecureTransport": "false"}})


def trust_service(service: str, *, account: str | None = None) -> str:
    """Return a trust policy for one AWS service, restricted to one account where the service supports it."""
    condition = {"StringEquals": {"aws:SourceAccount": account}} if account else None
    return document(
        _statement("Allow", "TrustService", ["sts:AssumeRole"], principal={"Service": service}, condition=condition)
    )


def trust_roles(account: str, roles: Sequence[str]) -> str:
    """Return a trust policy for roles that need not exist yet.

    IAM refuses a policy that names a missing role, so the principal is the account and the roles are a condition.
    """
    principal, condition = {"AWS": account_root(account)}, {"ArnEquals": {"aws:PrincipalArn": list(roles)}}
    return document(_statement("Allow", "TrustPeer", ["sts:AssumeRole"], principal=principal, condition=condition))


def trust_token(provider: str, condition: Condition) -> str:
    """Return a trust policy for tokens of an OIDC identity provider, restricted by their claims."""
    action = ["sts:AssumeRoleWithWebIdentity"]
    return document(_statement("Allow", "TrustToken", action, principal={"Federated": provider}, condition=condition))


def account_root(account: str) -> str:
    """Return the account as a principal: IAM policies of the account then decide."""
    return f"arn:aws:iam::{account}:root"


def _statement(
    effect: str,
    sid: str,
    actions: Sequence[str],
    resources: str | Sequence[str] | None = None,
    principal: str | Mapping[str, str | Sequence[str]] | None = None,
    condition: Condition | None = None,
) -> Statement:
    fields = {
        "Sid": sid,
        "Effect": effect,
        "Action": list(actions),
        "Resource": resources if resources is None or isinstance(resources, str) else list(resources),
        "Principal": principal,
        "Condition": condition,
    }
    return {name: value for name, value in fields.items() if value is not None}

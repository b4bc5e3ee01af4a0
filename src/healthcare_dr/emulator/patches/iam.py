"""IAM: the caller of a request, and its representation in policies."""

import os
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import iam


def call_a_session_by_its_role() -> None:
    """For a role's session, `aws:PrincipalArn` was the session's ARN, where on AWS it is the role's: no policy that
    names roles in that condition ever matched."""
    inner = iam_evaluator._resolve_condition_key

    def resolve(key: str, context: Any) -> Any:
        if key.lower() == "aws:principalarn" and context.principal_type == "AssumedRole":
            name = iam_evaluator._role_name_from_assumed_arn(context.principal_arn)
            role = iam._roles.get_scoped(context.principal_account, None, name)
            return role["Arn"] if role else context.principal_arn
        return inner(key, context)

    iam_evaluator._resolve_condition_key = resolve


def ask_root_for_its_signature() -> None:
    """Any 12 digits, and `test`, passed for the account's root with any secret key: only the signatures of users and
    roles were verified."""
    root = os.environ["AWS_ACCESS_KEY_ID"]
    inner = iam_evaluator.resolve_caller_identity

    def is_root(access_key: str) -> bool:
        return not access_key or access_key == root

    def exempt_from_signature(access_key: str) -> bool:
        return not access_key

    def identity(access_key: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = inner(access_key)
        if found is None and access_key == root:
            credential = iam_evaluator.resolve_credential(access_key)
            return {
                "accessKey": access_key,
                "accountId": credential.account_id,
                "userArn": credential.principal_arn,
                "userId": credential.principal_id,
                "principalOrgId": None,
                "session": None,
            }
        return found

    iam_evaluator.is_root_access_key = is_root
    iam_evaluator._is_root_key = exempt_from_signature
    iam_evaluator.resolve_caller_identity = identity

"""Patch IAM: the caller's identity in policies, and caches of parsed policies.

Every cache is keyed on the text of the policy itself and, where it matters, on the caller and the action, never on the
name of a policy, role or key. A changed policy has another text, so it applies from the next request on and no entry
has to be invalidated. Resources and conditions are compared anew for every request.
"""

import json
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.core.iam_evaluator import EvalContext, EvalResult, ParsedStatement
from ministack.services import iam

from healthcare_dr.emulator.patches.replacement import replaces

# The platform has some forty policies; a resource policy counts once per session that uses it.
DOCUMENTS = 1024
RESOURCE_POLICIES = 4096
# A request names its action, so a client can invent any number of actions.
ACTIONS_OF_A_DOCUMENT = 256


@replaces(iam_evaluator, "_resolve_condition_key")
def resolve_principal_arn_to_role(inner: Callable[[str, Any], Any], key: str, context: Any) -> Any:
    """For the session of a role, `aws:PrincipalArn` was the session's ARN. On AWS it is the role's, so policies that
    name roles in that condition never matched.
    """
    if key.lower() == "aws:principalarn" and context.principal_type == "AssumedRole":
        name = iam_evaluator._role_name_from_assumed_arn(context.principal_arn)
        role = iam._roles.get_scoped(context.principal_account, None, name)
        return role["Arn"] if role else context.principal_arn
    return inner(key, context)


def verify_root_signature() -> None:
    """Any 12 digits, and `test`, were accepted as the account's root with any secret key: only signatures of users and
    roles were verified.
    """
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


class Document(list[ParsedStatement]):
    """The statements of one policy document, immutable, with an index by action."""

    def __init__(self, statements: list[ParsedStatement]) -> None:
        super().__init__(statements)
        self._by_action: dict[tuple[str, str], tuple[ParsedStatement, ...]] = {}
        self.condition_keys = frozenset(
            key.lower()
            for statement in statements
            if isinstance(statement.conditions, dict)
            for block in statement.conditions.values()
            if isinstance(block, dict)
            for key in block
        )

    def naming(self, action: str, effect: str) -> tuple[ParsedStatement, ...]:
        """Return the statements with this effect that name the action."""
        found = self._by_action.get((action, effect))
        if found is None:
            found = tuple(
                statement
                for statement in self
                if statement.effect == effect
                and iam_evaluator._action_matches(action, statement.actions, statement.not_actions)
            )
            if len(self._by_action) >= ACTIONS_OF_A_DOCUMENT:
                self._by_action.clear()
            self._by_action[action, effect] = found
        return found


def cache_parsed_policies() -> None:
    """Cache parsed policies by their text, and the statements that name an action: parsing and comparing them for every
    request took a third of the time of a read.
    """
    parse_inner, resource_inner = iam_evaluator.parse_policy_document, iam_evaluator.evaluate_resource_policy
    names_inner = iam_evaluator._names_condition_key

    @lru_cache(DOCUMENTS)
    def parsed(text: str) -> Document:
        return Document(parse_inner(text))

    def parse(document: str | dict[str, Any]) -> Document:
        return parsed(document) if isinstance(document, str) else Document(parse_inner(document))

    @lru_cache(RESOURCE_POLICIES)
    def applicable(text: str, caller: str, service: str | None, named_only: bool, direct_only: bool) -> Document:
        """The statements whose principal is the caller, as ministack selects them."""
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        found = document.get("Statement", []) if isinstance(document, dict) else []
        statements = [found] if isinstance(found, dict) else found if isinstance(found, list) else []
        return Document(
            parse_inner(
                {
                    "Statement": [
                        statement
                        for statement in statements
                        if isinstance(statement, dict)
                        and _applies(statement.get("Principal", {}), caller, service, named_only, direct_only)
                    ]
                }
            )
        )

    def evaluate_resource(
        document: str | dict[str, Any] | None,
        context: EvalContext,
        service: str | None = None,
        named_only: bool = False,
        direct_only: bool = False,
    ) -> EvalResult:
        if not isinstance(document, str):
            return resource_inner(document, context, service, named_only, direct_only)
        return evaluate(context, [applicable(document, context.principal_arn, service, named_only, direct_only)])

    def names_key(policies: list[list[ParsedStatement]], prefix: str) -> bool:
        return any(
            any(key.startswith(prefix) for key in document.condition_keys)
            if isinstance(document, Document)
            else names_inner([document], prefix)
            for document in policies
        )

    iam_evaluator.parse_policy_document = parse
    iam_evaluator.evaluate = evaluate
    iam_evaluator.evaluate_resource_policy = evaluate_resource
    iam_evaluator._names_condition_key = names_key


def _applies(principal: Any, caller: str, service: str | None, named_only: bool, direct_only: bool) -> bool:
    """Return whether a statement of a resource policy with this principal applies to the caller."""
    if direct_only:
        return bool(iam_evaluator._names_caller_directly(principal, caller))
    if named_only:
        return bool(iam_evaluator._names_caller(principal, caller))
    if not isinstance(principal, dict):
        return bool(iam_evaluator._principal_matches(principal, caller))
    if iam_evaluator._principal_matches({"AWS": principal.get("AWS", [])}, caller):
        return True
    return service is not None and bool(iam_evaluator._service_principal_matches(principal, service))


def evaluate(
    context: EvalContext, policies: list[list[ParsedStatement]], *limits: list[list[ParsedStatement]]
) -> EvalResult:
    """Evaluate like ministack: a Deny in any layer denies; an Allow of `policies` counts when every limit allows."""
    layers = (policies, *limits)
    for layer in layers:
        denying = _first(context, layer, "Deny")
        if denying is not None:
            return EvalResult("Deny", context.principal_arn, denying.sid, "Explicit deny")
    allowing = _first(context, policies, "Allow")
    if allowing is not None and all(_first(context, layer, "Allow") for layer in limits):
        return EvalResult("Allow", context.principal_arn, allowing.sid, "Explicit allow")
    return EvalResult("ImplicitDeny", context.principal_arn, "", "No matching Allow statement")


def _first(context: EvalContext, layer: list[list[ParsedStatement]], effect: str) -> ParsedStatement | None:
    """Return the first statement of the layer that decides with this effect."""
    for document in layer:
        if not isinstance(document, Document):
            found: ParsedStatement | None = iam_evaluator._first_match(context, document, effect)
            if found is not None:
                return found
            continue
        for statement in document.naming(context.action, effect):
            if iam_evaluator._resource_matches(
                context.resource_arn, statement.resources, statement.not_resources
            ) and iam_evaluator._conditions_met(statement.conditions, context):
                return statement
    return None


@replaces(iam_actions, "dynamodb_transaction_checks")
def authorize_transactions_once(
    inner: Callable[..., list[tuple[str, str]]], action: str, body: bytes, region: str, account: str
) -> list[tuple[str, str]]:
    """Authorize a transaction once per table and action instead of once per item: to a policy, the items of a table
    that are written in the same way do not differ.
    """
    return list(dict.fromkeys(inner(action, body, region, account)))

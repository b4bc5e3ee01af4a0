"""Patch IAM: the caller's identity in policies, and caches of parsed policies.

Every cache is keyed on the text of the policy itself and, where it matters, on the caller and the action, never on the
name of a policy, role or key. A changed policy has another text, so it applies from the next request on and no entry
has to be invalidated. Resources and conditions are compared anew for every request.
"""

import json
import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.core.iam_evaluator import EvalContext, EvalResult, ParsedStatement
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam, kms

from healthcare_dr.emulator.patches.replacement import replaces

# The platform has some forty policies; a resource policy counts once per session that uses it.
DOCUMENTS = 1024
RESOURCE_POLICIES = 4096
# A request names its action, so a client can invent any number of actions.
ACTIONS_OF_A_DOCUMENT = 256
# The actions whose key `iam:PermissionsBoundary` is the boundary that the role has.
ON_BOUNDED_ROLES = {
    "iam:AttachRolePolicy", "iam:DeleteRolePolicy", "iam:DetachRolePolicy", "iam:PutRolePolicy",
}  # fmt: skip
ALIAS_PATH = re.compile(r"/functions/[^/]+/aliases/[^/]+$")
ON_ALIAS = {"GET": "lambda:GetAlias", "PUT": "lambda:UpdateAlias", "DELETE": "lambda:DeleteAlias"}
ON_CONCURRENCY = {"GET": "lambda:GetFunctionConcurrency", "DELETE": "lambda:DeleteFunctionConcurrency"}
HEALTH_CHECK_PATH = re.compile(r"/(healthcheck|change)/([^/]+)")
RECORD_NAME = re.compile(r"<ResourceRecordSet>.*?<Name>([^<]*)</Name>", re.DOTALL)


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


@replaces(iam_actions, "extract_iam_action")
def distinguish_lambda_actions(
    inner: Callable[..., str | None], service: str, method: str, path: str, *request: Any
) -> str | None:
    """Requests for one alias were authorized as `lambda:ListAliases`, and every request for a function's concurrency as
    `lambda:PutFunctionConcurrency`.
    """
    if service == "lambda":
        if ALIAS_PATH.search(path) and method in ON_ALIAS:
            return ON_ALIAS[method]
        if path.endswith("/concurrency") and method in ON_CONCURRENCY:
            return ON_CONCURRENCY[method]
    return inner(service, method, path, *request)


@replaces(iam_actions, "extract_resource_arn")
def derive_resource_arns(
    inner: Callable[..., str],
    service: str,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    params: dict[str, Any],
    region: str,
    account: str,
) -> str:
    """Requests of several services were authorized on `*`, which no statement that names resources allows, and rules
    of the default event bus on the bus or on `rule/default/<name>`.
    """
    found = str(inner(service, method, path, headers, body, params, region, account))
    if service == "events":
        rule = _Sent(body, params)("Rule")
        found = f"arn:aws:events:{region}:{account}:rule/{rule}" if rule else found.replace(":rule/default/", ":rule/")
    if service == "kms" and ":alias/" in found and (key := kms._aliases.get(found)):
        # Only CreateAlias, UpdateAlias and DeleteAlias are authorized on aliases.
        return f"arn:aws:kms:{region}:{account}:key/{key.rpartition('/')[2]}"
    return _resource_of(service, path, body, params, region, account) or found if found == "*" else found


def _resource_of(service: str, path: str, body: bytes, params: dict[str, Any], region: str, account: str) -> str | None:
    """Return the ARN that AWS derives from a request (Service Authorization Reference); None if it has none."""
    sent = _Sent(body, params)
    prefix = f"arn:aws:{service}:{region}:{account}"
    if service == "iam" and (name := sent("PolicyName")):
        return f"arn:aws:iam::{account}:policy/{name}"
    if service == "iam":
        return sent("PolicySourceArn") or sent("OpenIDConnectProviderArn")
    if service == "kms" and (alias := sent("AliasName")):
        return f"{prefix}:{alias}"
    if service == "ec2":
        return None if sent("Action").startswith("Describe") else f"{prefix}:resource/new"
    if service == "monitoring":
        return sent("ResourceARN") or _monitored(sent, region, account)
    if service == "lambda" and path.rstrip("/").endswith("/functions") and (name := sent("FunctionName")):
        return f"{prefix}:function:{name}"
    if service == "route53" and (check := HEALTH_CHECK_PATH.search(path)):
        return f"arn:aws:route53:::{check[1]}/{check[2]}"
    if service == "cloudtrail":
        listed = sent("ResourceIdList") or sent("ResourceId") or sent("TrailName")
        return listed if not listed or listed.startswith("arn:") else f"{prefix}:trail/{listed}"
    return sent("ResourceArn") or sent("ResourceARN")


def _monitored(sent: "_Sent", region: str, account: str) -> str | None:
    """Return the alarm or dashboard of a request to CloudWatch."""
    if dashboard := sent("DashboardName") or sent("DashboardNames"):
        return f"arn:aws:cloudwatch::{account}:dashboard/{dashboard}"
    alarm = sent("AlarmName") or sent("AlarmNames") or ("*" if sent("Action") == "DescribeAlarms" else "")
    return f"arn:aws:cloudwatch:{region}:{account}:alarm:{alarm}" if alarm else None


class _Sent:
    """The parameters of a request, in the JSON of its body or in its form."""

    def __init__(self, body: bytes, params: dict[str, Any]) -> None:
        self._params = params
        try:
            document = json.loads(body) if body[:1] == b"{" else {}
        except ValueError:
            document = {}
        self._document = document if isinstance(document, dict) else {}

    def __call__(self, name: str) -> str:
        """Return a parameter, the first element of a list; an empty string if there is none."""
        value = self._document.get(name, self._params.get(name, self._params.get(f"{name}.member.1", "")))
        while isinstance(value, list):
            value = value[0] if value else ""
        return str(value)


@replaces(iam_actions, "request_tag_context")
def provide_condition_keys(
    inner: Callable[..., dict[str, Any]], service: str, iam_action: str, body: bytes, params: dict[str, Any]
) -> dict[str, Any]:
    """The condition keys `iam:PermissionsBoundary`, `iam:PolicyARN`, `iam:AWSServiceName`, `lambda:FunctionArn` and
    `route53:ChangeResourceRecordSetsNormalizedRecordNames` were missing, so statements with them never matched.
    """
    return {**inner(service, iam_action, body, params), **_condition_keys(iam_action, body, params)}


def _condition_keys(action: str, body: bytes, params: dict[str, Any]) -> dict[str, Any]:
    """Return the condition keys of a request that ministack does not provide; none for values that it lacks."""
    if action == "lambda:CreateEventSourceMapping":
        function = str(json.loads(body or b"{}").get("FunctionName", ""))
        if not function.startswith("arn:"):
            function = f"arn:aws:lambda:{get_region()}:{get_account_id()}:function:{function}"
        return {"lambda:FunctionArn": function}
    if action == "route53:ChangeResourceRecordSets":
        names = {found.rstrip(".").lower() for found in RECORD_NAME.findall(body.decode(errors="replace"))}
        return {"route53:ChangeResourceRecordSetsNormalizedRecordNames": sorted(names)}
    if not action.startswith("iam:"):
        return {}

    def sent(name: str) -> str:
        value = params.get(name, "")
        return str(value[0] if isinstance(value, list) else value)

    boundary = sent("PermissionsBoundary")
    if action in ON_BOUNDED_ROLES:
        role = iam._roles.get(sent("RoleName")) or {}
        boundary = role.get("PermissionsBoundary") or ""
    keys = {
        "iam:PermissionsBoundary": boundary,
        "iam:PolicyARN": sent("PolicyArn"),
        "iam:AWSServiceName": sent("AWSServiceName"),
    }
    return {key: value for key, value in keys.items() if value}


@replaces(iam_actions, "dynamodb_transaction_checks")
def authorize_transactions_once(
    inner: Callable[..., list[tuple[str, str]]], action: str, body: bytes, region: str, account: str
) -> list[tuple[str, str]]:
    """Authorize a transaction once per table and action instead of once per item: to a policy, the items of a table
    that are written in the same way do not differ.
    """
    return list(dict.fromkeys(inner(action, body, region, account)))

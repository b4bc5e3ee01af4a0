"""Policies name actions, resources and condition keys that exist, and the functions' policies grant what they call.

The reference of actions is the data of `policy_sentry`, which is generated from AWS's service authorization reference.
"""

import ast
import fnmatch
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from policy_sentry.querying.actions import get_action_data, get_actions_for_service

from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.lint.model import Platform, Resource, listed
from healthcare_dr.infra.lint.service_models import resolved
from healthcare_dr.naming import PRIMARY
from healthcare_dr.settings import Settings
from infra.damage import Documents

IDENTITY_POLICIES = {"aws_iam_policy", "aws_iam_role_policy"}
# Keys of every request: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
GLOBAL_KEYS = {
    "aws:CalledVia", "aws:PrincipalArn", "aws:RequestedRegion", "aws:SecureTransport", "aws:SourceAccount",
    "aws:SourceArn",
}  # fmt: skip
# The reference lacks what another page of AWS documents.
DOCUMENTED_KEYS = {
    "s3:IsReplicationPauseRequest": "FIS User Guide, aws:s3:bucket-pause-replication",
    "token.actions.githubusercontent.com:aud": "IAM User Guide, keys for AWS OIDC federation",
    "token.actions.githubusercontent.com:sub": "IAM User Guide, keys for AWS OIDC federation",
}
DOCUMENTED_RESOURCES = {
    f"arn:aws:apigateway:{region}::/domainnames": "API Gateway Developer Guide, the resource of CreateDomainName"
    for region in ("us-east-1", "us-west-2")
}
# The reference names alarms as their resource, but composite alarms need a permission on all of them.
UNSCOPED = {
    "cloudwatch:DescribeAlarms": "CloudWatch API reference, DescribeAlarms",
    "cloudwatch:PutCompositeAlarm": "CloudWatch API reference, PutCompositeAlarm",
}
# Condition keys that do not apply to an action of the same statement.
INAPPLICABLE_KEYS = {
    ("kms:DescribeKey", "kms:EncryptionContext:aws:logs:arn"): "CloudWatch Logs User Guide, key policy of a log group",
}
ARNS = {
    "aws_cloudwatch_log_group": "arn:aws:logs:us-east-1:123456789012:log-group:sample",
    "aws_kms_alias": "arn:aws:kms:us-east-1:123456789012:key/sample",
    "aws_kms_key": "arn:aws:kms:us-east-1:123456789012:key/sample",
    "aws_route_table": "arn:aws:ec2:us-east-1:123456789012:route-table/sample",
    "aws_s3_bucket": "arn:aws:s3:::sample",
    "aws_subnet": "arn:aws:ec2:us-east-1:123456789012:subnet/sample",
    "aws_vpc": "arn:aws:ec2:us-east-1:123456789012:vpc/sample",
    "aws_vpc_endpoint": "arn:aws:ec2:us-east-1:123456789012:vpc-endpoint/sample",
}


@dataclass(frozen=True)
class Statement:
    resource: Resource
    body: Mapping[str, Any]

    @property
    def where(self) -> str:
        return f"{self.resource.address} {self.body['Sid']}"

    @property
    def actions(self) -> list[str]:
        return listed(self.body["Action"])

    @property
    def keys(self) -> set[str]:
        return set(chain.from_iterable(self.body.get("Condition", {}).values()))


def with_arns(text: str) -> str:
    return re.sub(r"\$\{(?:data\.)?(aws_\w+)\.\w+\.\w*arn\}", lambda found: ARNS.get(found[1], found[0]), text)


def statements(platform: Platform) -> Iterator[Statement]:
    for resource in platform.resources():
        for attribute in ("policy", "assume_role_policy"):
            if isinstance(text := resource.get(attribute), str):
                for body in json.loads(resolved(platform, resource, with_arns(text)))["Statement"]:
                    yield Statement(resource, body)


@cache
def matching(pattern: str) -> list[str]:
    """Return the actions that exist and match a pattern such as `kms:GenerateDataKey*`."""
    service = pattern.partition(":")[0]
    return [name for name in get_actions_for_service(service) if fnmatch.fnmatch(name.lower(), pattern.lower())]


@cache
def rows(action: str) -> list[dict[str, Any]]:
    service, _, name = action.partition(":")
    found: list[dict[str, Any]] = get_action_data(service, name)[service]
    return found


def is_form_of(form: str, text: str) -> bool:
    """Return whether a name can have the form of the reference and match the text, which may hold wildcards."""
    return meet(re.sub(r"\$\{[^}]*\}|<[^>]*>", "*", form), text)


@cache
def meet(one: str, other: str) -> bool:
    """Return whether any text matches both patterns."""
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return meet(one[1:], other) or meet(one, other[1:])
    if other[0] == "*":
        return meet(other, one)
    return one[0] == other[0] and meet(one[1:], other[1:])


def takes(action: str, resource: str) -> bool:
    forms = {"*"} if action in UNSCOPED else {row["resource_arn_format"] for row in rows(action)}
    return any(is_form_of(form, resource) for form in forms - {"*"} if resource != "*") or (
        resource == "*" and "*" in forms
    )


def knows(action: str, key: str) -> bool:
    return any(is_form_of(form, key) for row in rows(action) for form in row["condition_keys"])


def problems(platform: Platform) -> Iterator[str]:
    for statement in statements(platform):
        found = {pattern: matching(pattern) for pattern in statement.actions if pattern != "s3:*"}
        yield from (f"{statement.where}: no action is named {pattern}" for pattern, names in found.items() if not names)
        for key in statement.keys - GLOBAL_KEYS - DOCUMENTED_KEYS.keys():
            for pattern, names in found.items():
                if names and not any(knows(name, key) for name in names) and (names[0], key) not in INAPPLICABLE_KEYS:
                    yield f"{statement.where}: {pattern} has no condition key {key}"
        if statement.resource.kind in IDENTITY_POLICIES:
            resources = listed(statement.body["Resource"])
            for pattern, names in found.items():
                if names and not any(takes(name, resource) for name in names for resource in resources):
                    yield f"{statement.where}: {pattern} applies to none of {', '.join(resources)}"
            for resource in set(resources) - DOCUMENTED_RESOURCES.keys():
                if not any(takes(name, resource) for names in found.values() for name in names):
                    yield f"{statement.where}: no action applies to {resource}"


@pytest.mark.requirement("C6")
def test_policies_name_what_exists(all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = all_settings
    assert list(problems(Platform(synthesis.documents(), settings))) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"Action": ["dynamodb:GetItems"]}, "no action is named dynamodb:GetItems"),
        ({"Action": ["dynamodb:ListStreams"]}, "dynamodb:ListStreams applies to none of"),
        ({"Resource": "arn:aws:s3:::a-bucket"}, "no action applies to arn:aws:s3:::a-bucket"),
        (
            {"Condition": {"StringEquals": {"dynamodb:LeadingKey": ["a"]}}},
            "dynamodb:GetItem has no condition key dynamodb:LeadingKey",
        ),
    ],
)
def test_policy_that_names_something_unknown_is_found(
    change: dict[str, object], problem: str, documents: Documents, settings: Settings
) -> None:
    body = documents[PRIMARY]["resource"]["aws_iam_policy"]["sentinel_policy"]
    policy = json.loads(body["policy"])
    policy["Statement"][0] |= change
    body["policy"] = json.dumps(policy)
    found = list(problems(Platform(documents, settings)))
    assert any(f"sentinel_policy Heartbeats: {problem}" in text for text in found), found


# What the functions' clients call, as actions; the rest of the names are those of the actions.
CALLS = {
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "assume_role": {"sts:AssumeRole"},
    "batch_get_item": {"dynamodb:BatchGetItem"},
    "complete_multipart_upload": {"s3:PutObject"},
    "create_multipart_upload": {"s3:PutObject"},
    "generate_data_key_without_plaintext": {"kms:GenerateDataKeyWithoutPlaintext"},
    "generate_mac": {"kms:GenerateMac"},
    "get_parameter": {"ssm:GetParameter"},
    "get_item": {"dynamodb:GetItem"},
    "get_object": {"s3:GetObject", "s3:GetObjectVersion"},
    # HEAD on a missing key responds with 403 instead of 404 without permission to list.
    "head_object": {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"},
    "head_bucket": {"s3:ListBucket"},
    "list_parts": {"s3:ListMultipartUploadParts"},
    "put_item": {"dynamodb:PutItem"},
    "put_object": {"s3:PutObject"},
    "put_object_tagging": {"s3:PutObjectTagging", "s3:PutObjectVersionTagging"},
    "query": {"dynamodb:Query"},
    "upload_part": {"s3:PutObject"},
}
# The parts of a transaction.
PARTS = {
    "ConditionCheck": "dynamodb:ConditionCheckItem", "Delete": "dynamodb:DeleteItem", "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
}  # fmt: skip
# Statements that serve a service which acts for the function.
FOR_SERVICES = {
    "Key": "DynamoDB, S3 and SNS use the key in the caller's name",
    "Stream": "Lambda reads the stream with the function's role",
    "FindStreams": "Lambda finds the stream with the function's role",
    "Logs": "Lambda writes what the function logs with the function's role",
    "Failures": "Lambda publishes what failed with the function's role",
}
SOURCES = Path(importlib.util.find_spec("patient_api").submodule_search_locations[0])  # type: ignore[union-attr, index] # a package


@cache
def tree(module: str) -> ast.Module:
    path = SOURCES.parent / module.replace(".", "/")
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


def imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield module and name of every import of `patient_api` that runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("patient_api"):
            for alias in child.names:
                yield child.module or "", alias.name
        yield from imported(child)


def reached(handler: str) -> list[ast.AST]:
    """Return the modules that a handler reaches; of the composition, only the functions and classes that it reaches."""
    nodes: dict[tuple[str, str], ast.AST] = {}
    waiting = [*imported(tree(handler)), *composed(tree(handler))]
    while waiting:
        module, name = waiting.pop()
        path = SOURCES.parent / f"{module}.{name}".replace(".", "/")
        if path.is_dir() or path.with_suffix(".py").exists():
            module, name = f"{module}.{name}", ""
        composes = module == "patient_api.bootstrap"
        if composes and not name:
            continue
        key = (module, name if composes else "")
        if key in nodes:
            continue
        nodes[key] = node = defined(name) if composes else tree(module)
        waiting += imported(node)
        if composes:
            used = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
            waiting += [("patient_api.bootstrap", other) for other in used & definitions().keys()]
            waiting += [(source, other) for source, other in imported_by_composition() if other in used]
    return list(nodes.values())


def composed(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the functions of the composition that code names as `bootstrap.function`."""
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name) and child.value.id == "bootstrap":
            yield "patient_api.bootstrap", child.attr


@cache
def definitions() -> dict[str, ast.AST]:
    found = tree("patient_api.bootstrap").body
    return {node.name: node for node in found if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def defined(name: str) -> ast.AST:
    return definitions().get(name, ast.Module([], []))


@cache
def imported_by_composition() -> list[tuple[str, str]]:
    body = [node for node in tree("patient_api.bootstrap").body if isinstance(node, ast.ImportFrom)]
    return [found for node in body for found in imported(ast.Module([node], []))]


def called(handler: str) -> set[str]:
    """Return the actions of every client call in the code that a handler reaches, presigned ones included."""
    found: set[str] = set()
    for node in chain.from_iterable(map(ast.walk, reached(handler))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found |= CALLS.get(node.func.attr, set())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= CALLS.get(node.value, set()) | ({PARTS[node.value]} if node.value in PARTS else set())
    return found


def granted(platform: Platform, role: Resource) -> dict[str, set[str]]:
    """Return the actions that a role's policies grant the code itself, by statement."""
    attachments = platform.resources("aws_iam_role_policy_attachment")
    policies = [
        platform.referred(role.stack, attachment.get("policy_arn"))
        for attachment in attachments
        if platform.referred(attachment.stack, attachment.get("role")) == role
    ]
    return {
        body["Sid"]: set(listed(body["Action"]))
        for policy in policies
        if policy is not None
        for body in policy.statements("policy")
        if body["Sid"] not in FOR_SERVICES
    }


@pytest.mark.requirement("C6", "R2.5")
def test_functions_may_do_what_they_call_and_no_more(all_settings: tuple[Synthesis, Settings]) -> None:
    platform, handlers = Platform(all_settings[0].documents(), all_settings[1]), set()
    for function in platform.resources("aws_lambda_function", region="us-east-1"):
        role = platform.referred(function.stack, function.get("role"))
        assert role is not None
        handler = function.get("handler").rpartition(".")[0]
        handlers.add(handler)
        excess = {sid: actions - called(handler) for sid, actions in granted(platform, role).items()}
        assert {sid: actions for sid, actions in excess.items() if actions} == {}, handler
        own = set(chain.from_iterable(granted(platform, role).values()))
        # Every function contains the code that assumes the peer's role; some actions are granted by the key's policy.
        assert {action for action in called(handler) - own if action.startswith("dynamodb:")} == set(), handler
    assert len(handlers) == 5


@pytest.mark.requirement("C6", "R2.3")
def test_peer_role_may_do_what_documents_need(platform: Platform) -> None:
    (role,) = [
        role for role in platform.resources("aws_iam_role", region="us-east-1") if role.name == "documents_peer_role"
    ]
    calls = called("patient_api.handlers.api") | called("patient_api.handlers.confirm_documents")
    assert {sid: actions - calls for sid, actions in granted(platform, role).items() if actions - calls} == {}

"""Rules on the roles of the deployment pipeline, and on the boundary of the roles that it creates."""

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, Resource, listed, principals, rule
from healthcare_dr.naming import PIPELINE

ISSUER = "token.actions.githubusercontent.com"
# IAM and AWS STS quotas: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
POLICY_CHARACTERS = 6144
ATTACHED_POLICIES = 10
# The longest suffix.
SUFFIX_CHARACTERS = 20
GIVES_PERMISSIONS = {
    "iam:AttachRolePolicy", "iam:CreateRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy",
    "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy",
}  # fmt: skip
ESCAPES = {
    "iam:AddUserToGroup", "iam:AttachGroupPolicy", "iam:AttachUserPolicy", "iam:CreateAccessKey",
    "iam:CreateLoginProfile", "iam:CreateOpenIDConnectProvider", "iam:CreateUser",
    "iam:DeleteRolePermissionsBoundary", "iam:PutGroupPolicy", "iam:PutUserPolicy", "iam:SetDefaultPolicyVersion",
    "iam:UpdateAssumeRolePolicy", "iam:UpdateOpenIDConnectProviderThumbprint", "sts:AssumeRole",
}  # fmt: skip
# What deletes data or evidence, shortens how long it is kept, or ends its protection or recording.
DESTROYS = {
    "cloudtrail:DeleteTrail", "cloudtrail:PutEventSelectors", "cloudtrail:StopLogging", "cloudtrail:UpdateTrail",
    "dynamodb:DeleteBackup", "dynamodb:DeleteTable", "dynamodb:DeleteTableReplica", "dynamodb:UpdateContinuousBackups",
    "dynamodb:UpdateTimeToLive", "ec2:DeleteFlowLogs", "kms:DisableKey", "kms:DisableKeyRotation",
    "kms:ScheduleKeyDeletion", "route53:DeleteHostedZone", "s3:DeleteBucket", "s3:DeleteBucketPolicy",
    "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
}  # fmt: skip
# Other log groups contain access and flow logs.
FUNCTION_LOGS = re.compile(r"arn:aws:logs:[a-z0-9-]+:[^:]+:log-group:/aws/lambda/.+")
DESTROYS_LOGS = {"logs:DeleteLogGroup", "logs:DeleteRetentionPolicy", "logs:PutRetentionPolicy"}
# CloudWatch refuses or ignores a narrower resource for composite alarms: its API reference, PutCompositeAlarm and
# DescribeAlarms.
UNSCOPED = {"cloudwatch:DescribeAlarms", "cloudwatch:PutCompositeAlarm"}
ITEMS = {
    "dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:GetItem",
    "dynamodb:GetRecords", "dynamodb:PartiQLDelete", "dynamodb:PartiQLInsert", "dynamodb:PartiQLSelect",
    "dynamodb:PartiQLUpdate", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:UpdateItem",
}  # fmt: skip
DENIED_ITEMS = (
    "dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query",
    "dynamodb:Scan", "dynamodb:UpdateItem",
)  # fmt: skip
CONTENT = ITEMS | {
    "logs:FilterLogEvents",
    "logs:GetLogEvents",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "sqs:ReceiveMessage",
}
READS = re.compile(r"apigateway:GET|[a-z0-9]+:(BatchGet|Describe|Get|List|Simulate)\w+")
# Allowed through a service only.
DECRYPTS = "kms:Decrypt"


@rule("C6")
def pipeline_trust(platform: Platform) -> Problems:
    """A role that trusts a pattern of subjects can be assumed by workflows of other repositories, branches or forks."""
    settings = platform.settings
    expected = {
        "plan": "pull_request",
        "deploy": f"environment:{settings.github_environment}",
        "verify": f"ref:refs/heads/{settings.github_branch}",
    }
    found = {}
    for role in _pipeline(platform, "aws_iam_role"):
        for name, context in expected.items():
            if role.get("name") == platform.names.of_pipeline(name):
                found[name] = role
                yield from _trusts(role, f"repo:{settings.github_repository}:{context}")
        if role not in found.values():
            yield role.address, "is not a role of the pipeline"
    if PIPELINE in platform.documents and found.keys() != expected.keys():
        yield PIPELINE, f"must have the roles {', '.join(expected)}"


def _trusts(role: Resource, subject: str) -> Problems:
    condition = {"StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": subject}}
    statements = role.statements("assume_role_policy")
    for statement in statements:
        if statement.get("Condition") != condition:
            yield role.address, f"must trust exactly the audience sts.amazonaws.com and the subject {subject}"
        if listed(statement["Action"]) != ["sts:AssumeRoleWithWebIdentity"]:
            yield role.address, "must be assumed with a token only"
        provider = principals(statement, "Federated")
        if len(provider) != 1 or not re.fullmatch(
            r"\$\{(data\.)?aws_iam_openid_connect_provider\.github\.arn\}", provider[0]
        ):
            yield role.address, f"must trust the identity provider of {ISSUER} only"
    if len(statements) != 1:
        yield role.address, "must have one trust statement"
    if role.get("max_session_duration") != 3600:
        yield role.address, "its sessions must end after an hour"


@rule("C6")
def pipeline_actions(platform: Platform) -> Problems:
    """A pattern of actions grants what AWS adds later."""
    for holder, statement in _allowed(platform):
        for action in listed(statement["Action"]):
            if "*" in action and action not in ("kms:GenerateDataKey*", "kms:ReEncrypt*"):
                yield holder.address, f"{statement['Sid']} allows {action}: name each action"


@rule("C6")
def pipeline_escalation(platform: Platform) -> Problems:
    """A role that creates roles has every permission that it can give them, unless a boundary limits them."""
    if PIPELINE not in platform.documents:
        return
    boundary = _boundary_arn(platform)
    for holder, statement in _allowed(platform):
        actions, condition = set(listed(statement["Action"])), statement.get("Condition", {})
        if actions & GIVES_PERMISSIONS and condition.get("StringEquals", {}).get("iam:PermissionsBoundary") != boundary:
            yield holder.address, f"{statement['Sid']} must require iam:PermissionsBoundary {boundary}"
        if "iam:PassRole" in actions and not condition.get("StringEquals", {}).get("iam:PassedToService"):
            yield holder.address, f"{statement['Sid']} must limit iam:PassRole to services"
        if actions & {"iam:PassRole", *GIVES_PERMISSIONS} and "*" in listed(statement["Resource"]):
            yield holder.address, f"{statement['Sid']} must be limited to the platform's roles"
        yield from ((holder.address, f"{action} leaves the boundary") for action in sorted(actions & ESCAPES))
    own = {f"arn:aws:iam::{ACCOUNT}:{kind}/{PIPELINE}-*" for kind in ("role", "policy")}
    own.add(f"arn:aws:iam::{ACCOUNT}:oidc-provider/*")
    denied = [
        statement
        for _, statement in _statements(platform, "deploy")
        if statement["Effect"] == "Deny" and listed(statement["Action"]) == ["iam:*"] and "Condition" not in statement
    ]
    if not any(own <= set(listed(statement["Resource"])) for statement in denied):
        yield PIPELINE, "the deploy role must be denied every change of the pipeline's own roles, policies and provider"
    if not any(
        statement["Effect"] == "Deny"
        and "sts:AssumeRole" in listed(statement["Action"])
        and listed(statement["Resource"]) == ["*"]
        and "Condition" not in statement
        for _, statement in _statements(platform, "deploy")
    ):
        yield PIPELINE, "the deploy role must be denied to assume the roles that it creates"


@rule("C6")
def pipeline_data(platform: Platform) -> Problems:
    """Code of a pull request runs with the plan role before it is reviewed, and a deployment needs no patient data."""
    for name in ("plan", "deploy", "verify"):
        for holder, statement in _statements(platform, name):
            if statement["Effect"] != "Allow":
                continue
            actions, resources = set(listed(statement["Action"])), listed(statement["Resource"])
            if _on_state(platform, resources):
                continue
            yield from _writes(holder, statement) if name != "deploy" else ()
            for action in sorted(actions & CONTENT):
                if not _may_read(name, action, statement):
                    yield holder.address, f"{statement['Sid']} lets the {name} role read or change data by {action}"
    if PIPELINE in platform.documents:
        denied = {
            (action, json.dumps(statement.get("Condition"), sort_keys=True))
            for _, statement in _statements(platform, "deploy")
            if statement["Effect"] == "Deny"
            for action in listed(statement["Action"])
        }
        for action in (*DENIED_ITEMS, "s3:GetObject", "s3:GetObjectVersion"):
            if (action, "null") not in denied:
                yield PIPELINE, f"the deploy role must be denied {action} on items and documents"


def _writes(holder: Resource, statement: Mapping[str, Any]) -> Problems:
    for action in listed(statement["Action"]):
        decrypts = action == DECRYPTS and statement.get("Condition", {}).get("StringEquals", {}).get("kms:ViaService")
        if not READS.fullmatch(action) and not decrypts and action != "dynamodb:Query":
            yield holder.address, f"{statement['Sid']} must only read, not {action}"


def _may_read(name: str, action: str, statement: Mapping[str, Any]) -> bool:
    condition = statement.get("Condition", {})
    if name != "verify":
        return False
    keys = listed(_claim(condition, "dynamodb:LeadingKeys"))
    return action in ("dynamodb:GetItem", "dynamodb:Query") and all(str(key).startswith("$platform#") for key in keys)


def _claim(condition: Mapping[str, Any], key: str) -> Any:
    return next((block[key] for block in condition.values() if key in block), None)


@rule("C6", "D6")
def pipeline_destroys_nothing(platform: Platform) -> Problems:
    """Data that a merged mistake destroys is lost in both regions; an administrator destroys an environment."""
    for holder, statement in _statements(platform, "deploy"):
        if statement["Effect"] == "Allow" and not _on_state(platform, listed(statement["Resource"])):
            actions = set(listed(statement["Action"]))
            for action in sorted(actions & DESTROYS):
                yield holder.address, f"{action} is for an administrator"
            if actions & DESTROYS_LOGS and not all(map(FUNCTION_LOGS.fullmatch, listed(statement["Resource"]))):
                yield holder.address, f"{statement['Sid']} must be limited to log groups of functions"


@rule("C6")
def pipeline_scopes(platform: Platform) -> Problems:
    """CloudWatch refuses composite alarms to a caller whose permission is limited to some of them."""
    scopes: dict[str, set[str]] = {action: set() for action in UNSCOPED}
    for _, statement in _allowed(platform):
        for action in UNSCOPED.intersection(listed(statement["Action"])):
            scopes[action].update(listed(statement["Resource"]))
    for action, resources in sorted(scopes.items()):
        if PIPELINE in platform.documents and resources != {"*"}:
            yield PIPELINE, f"{action} must be allowed on *"


@rule("C6")
def roles_within_boundary(platform: Platform) -> Problems:
    """The deployment fails on a role without the boundary, which the deploy role may not create."""
    configured = platform.settings.github_repository is not None
    for role in platform.resources("aws_iam_role"):
        if role.stack == PIPELINE:
            continue
        found, expected = role.get("permissions_boundary"), _boundary_arn(platform) if configured else None
        if found != expected:
            yield role.address, f"its permissions boundary must be {expected}, not {found}"


@rule("C6")
def boundary_covers_roles(platform: Platform) -> Problems:
    """What the boundary lacks is denied to a role, whatever its own policy allows."""
    if PIPELINE not in platform.documents:
        return
    limits = [
        (set(listed(statement["Action"])), [_literal(text) for text in listed(statement["Resource"])])
        for policy in _pipeline(platform, "aws_iam_policy")
        if policy.get("name") == platform.names.of_pipeline("boundary")
        for statement in policy.statements()
    ]
    for holder in platform.resources("aws_iam_policy", "aws_iam_role_policy"):
        if holder.stack == PIPELINE:
            continue
        for statement in holder.statements():
            for action in listed(statement["Action"]):
                allowed = [
                    pattern
                    for actions, patterns in limits
                    if any(fnmatchcase(action, each) for each in actions)
                    for pattern in patterns
                ]
                for resource in map(_literal, listed(statement["Resource"])):
                    # An ARN that is known after the apply is compared by its action only.
                    known = not resource.startswith("${")
                    if not allowed or (known and not any(fnmatchcase(resource, pattern) for pattern in allowed)):
                        yield holder.address, f"the boundary does not allow {action} on {resource}"


@rule("C6")
def pipeline_limits(platform: Platform) -> Problems:
    """IAM refuses longer policies and more attachments, at the apply."""
    spare = SUFFIX_CHARACTERS - len(platform.settings.environment_suffix)
    for policy in _pipeline(platform, "aws_iam_policy"):
        text = json.dumps(json.loads(_literal(str(policy.get("policy")))), separators=(",", ":"))
        longest = len(text) + spare * text.count(platform.settings.environment_suffix)
        if longest > POLICY_CHARACTERS:
            yield policy.address, f"has {longest} characters with the longest suffix; IAM allows {POLICY_CHARACTERS}"
    for role in _pipeline(platform, "aws_iam_role"):
        attached = sum(1 for _ in platform.attached(role, "aws_iam_role_policy_attachment", "role"))
        if attached > ATTACHED_POLICIES:
            yield role.address, f"has {attached} policies; IAM allows {ATTACHED_POLICIES}"


def _pipeline(platform: Platform, kind: str) -> Iterator[Resource]:
    return (resource for resource in platform.resources(kind) if resource.stack == PIPELINE)


def _allowed(platform: Platform) -> Iterator[tuple[Resource, Mapping[str, Any]]]:
    """Yield the statements that allow something to a role of the pipeline. The boundary allows nothing by itself."""
    for policy in _pipeline(platform, "aws_iam_policy"):
        if policy.get("name") != platform.names.of_pipeline("boundary"):
            yield from ((policy, each) for each in policy.statements() if each["Effect"] == "Allow")


def _statements(platform: Platform, role: str) -> Iterator[tuple[Resource, Mapping[str, Any]]]:
    """Yield the statements of the policies that are attached to a role of the pipeline."""
    for attachment in _pipeline(platform, "aws_iam_role_policy_attachment"):
        holder = platform.referred(PIPELINE, attachment.get("role"))
        policy = platform.referred(PIPELINE, attachment.get("policy_arn"))
        if policy is not None and holder is not None and holder.get("name") == platform.names.of_pipeline(role):
            yield from ((policy, each) for each in policy.statements())


def _boundary_arn(platform: Platform) -> str:
    return f"arn:aws:iam::{ACCOUNT}:policy/{platform.names.of_pipeline('boundary')}"


def _on_state(platform: Platform, resources: list[Any]) -> bool:
    own = f"arn:aws:s3:::{platform.settings.state_bucket}"
    return all(text == own or str(text).startswith(f"{own}/") for text in resources)


def _literal(text: str) -> str:
    """Return the text with the account's id for the expression that Terraform resolves."""
    return text.replace(ACCOUNT, "123456789012")

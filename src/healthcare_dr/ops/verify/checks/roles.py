"""Checks of the roles: trust, policies and permissions."""

from collections.abc import Iterator
from typing import Any, Final

from healthcare_dr.ops.terraform.state import Resource
from healthcare_dr.ops.verify.check import REDEPLOY, each_region
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.policies import Document, differences, listed, statements

MISSING = ("NoSuchEntity", "NoSuchEntityException")
IAM: Final = "us-east-1"
# IAM simulates actions without wildcards only.
WHOLE: Final = {"kms:GenerateDataKey*": "kms:GenerateDataKey", "kms:ReEncrypt*": "kms:ReEncryptFrom"}
# The replacement of a wildcard in a resource, such as an object or an index.
SOME: Final = "some"


@each_region(
    "roles", "R2.3", "C6", "trap 36",
    expects="Every role exists with its deployed trust and policies",
    why="Without its trust in the peer a role prevents copies and reads, unnoticed until they are needed.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def roles(live: LiveTarget, region: str) -> Iterator[str]:
    for role in live.deployed.of("aws_iam_role", region):
        name = role["name"]
        found = live.request_optional("iam", IAM, "get_role", MISSING, RoleName=name)
        if found is None:
            yield f"{name} does not exist"
            continue
        trusted = found["Role"]["AssumeRolePolicyDocument"]
        yield from (f"trust of {name}: {text}" for text in differences(role["assume_role_policy"], trusted))
        if "PermissionsBoundary" in found["Role"] and not role["permissions_boundary"]:
            yield f"{name} is restricted by a permissions boundary"
        yield from _attached(live, region, name)
        yield from _inline(live, region, name)


@each_region(
    "permissions", "R2.3", "C6",
    expects="IAM's simulation allows every role each action that it was granted without a condition",
    why="With an explicit denial from an incident, a boundary or an organization's policy, the endpoint responds but "
    "requests fail.",
    fix="`aws iam list-role-policies --role-name ROLE` shows policies that were added by hand: delete them, or "
    "`hdr deploy`",
    gates_restore=True,
)  # fmt: skip
def permissions(live: LiveTarget, region: str) -> Iterator[str]:
    for role in live.deployed.of("aws_iam_role", region):
        denied = [
            text
            for document in _granted(live, region, role["name"])
            for statement in statements(document)
            if statement["Effect"] == "Allow" and not statement.get("Condition")
            for text in _simulated(live, role, statement)
        ]
        if denied:
            more = f", and {len(denied) - 1} more" if len(denied) > 1 else ""
            yield f"{role['name']} {denied[0]}{more}"


def _simulated(live: LiveTarget, role: Resource, statement: Any) -> Iterator[str]:
    actions = [WHOLE.get(action, action) for action in listed(statement["Action"])]
    for resource in listed(statement["Resource"]):
        answer = live.request_optional(
            "iam", IAM, "simulate_principal_policy", MISSING,
            PolicySourceArn=role["arn"], ActionNames=[action for action in actions if "*" not in action],
            ResourceArns=[resource.replace("*", SOME)] if resource != "*" else ["*"],
        )  # fmt: skip
        if answer is None:
            yield "does not exist"
            return
        for result in answer["EvaluationResults"]:
            if result["EvalDecision"] != "allowed":
                decision = "is denied" if result["EvalDecision"] == "explicitDeny" else "is not allowed"
                yield f"{decision} {result['EvalActionName']} on {resource}"


def _attached(live: LiveTarget, region: str, role: str) -> Iterator[str]:
    attached = live.request_optional("iam", IAM, "list_attached_role_policies", MISSING, RoleName=role) or {}
    found = {policy["PolicyArn"] for policy in attached.get("AttachedPolicies") or ()}
    managed = {policy["arn"]: policy for policy in live.deployed.of("aws_iam_policy", region)}
    for attachment in live.deployed.of("aws_iam_role_policy_attachment", region):
        arn = attachment["policy_arn"]
        if attachment["role"] != role:
            continue
        if arn not in found:
            yield f"{role} has lost the policy {arn.rpartition('/')[2]}"
        elif arn in managed:
            version = live.request("iam", IAM, "get_policy", PolicyArn=arn)["Policy"]["DefaultVersionId"]
            current = live.request_first_page("iam", IAM, "get_policy_version", PolicyArn=arn, VersionId=version)
            changes = differences(managed[arn]["policy"], current["PolicyVersion"]["Document"])
            yield from (f"policy {arn.rpartition('/')[2]}: {change}" for change in changes)


def _inline(live: LiveTarget, region: str, role: str) -> Iterator[str]:
    for policy in live.deployed.of("aws_iam_role_policy", region):
        if policy["role"] != role:
            continue
        found = live.request_optional("iam", IAM, "get_role_policy", MISSING, RoleName=role, PolicyName=policy["name"])
        if found is None:
            yield f"{role} has lost the policy {policy['name']}"
        else:
            changes = differences(policy["policy"], found["PolicyDocument"])
            yield from (f"policy {policy['name']} of {role}: {change}" for change in changes)


def _granted(live: LiveTarget, region: str, role: str) -> Iterator[Document]:
    managed = {policy["arn"]: policy["policy"] for policy in live.deployed.of("aws_iam_policy", region)}
    for attachment in live.deployed.of("aws_iam_role_policy_attachment", region):
        if attachment["role"] == role and attachment["policy_arn"] in managed:
            yield managed[attachment["policy_arn"]]
    for policy in live.deployed.of("aws_iam_role_policy", region):
        if policy["role"] == role:
            yield policy["policy"]

"""Damage to the roles of the deployment pipeline and to the boundary, and the rules that must find it."""

import json

from healthcare_dr.naming import GLOBAL, PIPELINE, PRIMARY
from infra.damage import Mutations, Part, Statement, add, resource

REPOSITORY = "octo-org/healthcare"
ISSUER = "token.actions.githubusercontent.com"


def managed(name: str) -> Part:
    return resource(PIPELINE, f"aws_iam_policy.{name}_policy")


def trust(name: str) -> Statement:
    return resource(PIPELINE, f"aws_iam_role.{name}_role").statement("TrustToken", "assume_role_policy")


def pipeline_mutations() -> Mutations:
    yield from trust_mutations()
    yield from permission_mutations()
    yield from boundary_mutations()


def trust_mutations() -> Mutations:
    equals = "Condition.StringEquals"
    for name in ("plan", "deploy", "verify"):
        yield "pipeline-trust", trust(name).drop("Condition")
        yield "pipeline-trust", trust(name).put("Condition", {"StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com"}})
        yield "pipeline-trust", trust(name).put("Principal", {"Federated": "*"})
        yield "pipeline-trust", trust(name).put("Principal", {"AWS": "*"})
        yield "pipeline-trust", trust(name).put("Action", ["sts:AssumeRoleWithWebIdentity", "sts:AssumeRole"])
        yield "pipeline-trust", trust(name).remove()
        for subject in (f"repo:{REPOSITORY}:*", "repo:octo-org/*", f"repo:{REPOSITORY}:ref:refs/heads/other"):
            claims = {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": subject}
            yield "pipeline-trust", trust(name).put(equals, claims)
            yield "pipeline-trust", trust(name).put("Condition", {"StringLike": claims})
    role = resource(PIPELINE, "aws_iam_role.deploy_role")
    yield "pipeline-trust", role.put("max_session_duration", 43200)
    yield "pipeline-trust", role.put("name", "healthcare-dr-pipeline-other-all-on-1")


def permission_mutations() -> Mutations:
    yield "pipeline-actions", managed("functions").statement("Functions").append("Action", "lambda:*")
    yield "pipeline-actions", managed("read").statement("Tables").append("Action", "dynamodb:Describe*")
    identity = managed("identity")
    for sid in ("BoundedRoles", "BoundedAttachments"):
        yield "pipeline-escalation", identity.statement(sid).drop("Condition.StringEquals")
        yield (
            "pipeline-escalation",
            identity.statement(sid).replace(
                "Condition.StringEquals.iam:PermissionsBoundary", "pipeline-boundary", "other"
            ),
        )
        yield "pipeline-escalation", identity.statement(sid).put("Resource", "*")
    yield "pipeline-escalation", identity.statement("PassRoles").drop("Condition")
    for action in (
        "iam:PutRolePolicy",
        "iam:DeleteRolePermissionsBoundary",
        "iam:CreateAccessKey",
        "iam:UpdateAssumeRolePolicy",
    ):
        yield "pipeline-escalation", identity.statement("Roles").append("Action", action)
    yield "pipeline-escalation", identity.statement("NotItself").remove()
    yield "pipeline-escalation", identity.statement("NotItself").drop("Resource.0")
    yield "pipeline-escalation", identity.statement("NotItself").put("Action", ["iam:DeleteRole"])
    yield "pipeline-escalation", identity.statement("NoOtherRole").remove()
    yield "pipeline-escalation", identity.statement("NoOtherRole").put("Resource", "arn:aws:iam::*:role/other")
    for action in ("dynamodb:GetItem", "dynamodb:UpdateTable"):
        yield "pipeline-data", managed("read").statement("Tables").append("Action", action)
    yield "pipeline-data", managed("read").statement("Buckets").append("Action", "s3:GetObject")
    yield "pipeline-data", managed("read").statement("FunctionEnvironment").drop("Condition")
    yield "pipeline-data", managed("data").statement("Tables").append("Action", "dynamodb:Scan")
    yield "pipeline-data", managed("data").statement("NoItems").put("Condition", {"Null": {"aws:CalledVia": "true"}})
    for sid in ("NoItems", "NoDocuments"):
        yield "pipeline-data", managed("data").statement(sid).remove()
    yield "pipeline-data", managed("data").statement("NoItems").drop("Action.2")
    checks = managed("checks")
    for sid in ("HeartbeatsAndDrainFlags", "OpenMarkers"):
        yield "pipeline-data", checks.statement(sid).drop("Condition")
    yield "pipeline-data", checks.statement("HeartbeatsAndDrainFlags").append("Action", "s3:GetObject")
    yield "pipeline-data", checks.statement("OpenMarkers").append("Action", "dynamodb:Scan")
    for policy, sid, action in (
        ("data", "Tables", "dynamodb:DeleteTable"),
        ("data", "Tables", "dynamodb:UpdateContinuousBackups"),
        ("data", "Tables", "dynamodb:UpdateTimeToLive"),
        ("data", "Documents", "s3:PutLifecycleConfiguration"),
        ("data", "Documents", "s3:PutReplicationConfiguration"),
        ("data", "Documents", "s3:PutBucketVersioning"),
        ("data", "Buckets", "s3:PutBucketPolicy"),
        ("data", "Trails", "cloudtrail:UpdateTrail"),
        ("data", "Trails", "cloudtrail:PutEventSelectors"),
        ("network", "Networks", "ec2:DeleteFlowLogs"),
        ("operations", "LogGroups", "logs:DeleteLogGroup"),
        ("operations", "LogGroups", "logs:PutRetentionPolicy"),
        ("data", "Buckets", "s3:DeleteBucket"),
        ("data", "Keys", "kms:ScheduleKeyDeletion"),
        ("data", "Trails", "cloudtrail:StopLogging"),
        ("network", "Zones", "route53:DeleteHostedZone"),
    ):
        yield "pipeline-destroys-nothing", managed(policy).statement(sid).append("Action", action)
    flow_logs = (
        "arn:aws:logs:us-east-1:${data.aws_caller_identity.account.account_id}:log-group:/healthcare-dr/*-all-on-1"
    )
    yield (
        "pipeline-destroys-nothing",
        managed("operations").statement("LogGroupsOfFunctions").append("Resource", flow_logs),
    )
    alarm = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:*"
    yield "pipeline-scopes", managed("operations").statement("CompositeAlarms").put("Resource", alarm)
    yield "pipeline-scopes", managed("operations").statement("CompositeAlarms").remove()
    yield "pipeline-scopes", managed("read_operations").statement("AllAlarms").put("Resource", alarm)
    relay = "notification-relay"
    yield relay, managed("read").statement("Tables").append("Action", "ssm:GetParameter")
    yield relay, managed("read_operations").statement("Webhooks").append("Action", "ssm:PutParameter")
    yield relay, managed("read_operations").statement("Webhooks").put("Resource", "arn:aws:ssm:us-east-1:*:parameter/*")
    yield relay, managed("read_operations").statement("Webhooks").put("Resource", "*")
    yield relay, managed("boundary").statement("Recipients").append("Action", "ssm:PutParameter")
    attached = Part(f"{PIPELINE}.resource.aws_iam_role_policy_attachment.deploy_operations")
    yield relay, attached.put("role", "${aws_iam_role.plan_role.name}")
    yield "pipeline-limits", managed("read").put("policy", json.dumps({"Statement": [{"Sid": "a" * 6144}]}))
    attachment = {"role": "${aws_iam_role.deploy_role.name}", "policy_arn": "${aws_iam_policy.read_policy.arn}"}
    several = {f"more_{number}": attachment for number in range(3)}
    yield (
        "pipeline-limits",
        Part(f"{PIPELINE}.resource.aws_iam_role_policy_attachment").edit(
            "3 added", lambda found: found.update(several)
        ),
    )


def boundary_mutations() -> Mutations:
    for stack, name in ((PRIMARY, "api_role"), (PRIMARY, "flow_log_role"), (GLOBAL, "replication_role_primary")):
        role = resource(stack, f"aws_iam_role.{name}")
        yield "roles-within-boundary", role.drop("permissions_boundary")
        yield "roles-within-boundary", role.put("permissions_boundary", "arn:aws:iam::aws:policy/AdministratorAccess")
    yield "roles-within-boundary", add(PRIMARY, "aws_iam_role.stray", {"name": "stray-us-east-1-all-on-1"})
    boundary = managed("boundary")
    for sid in ("Items", "Documents", "Keys", "DocumentsOfThePeer", "Recipients", "Logs", "PauseTables", "Disconnect"):
        yield "boundary-covers-roles", boundary.statement(sid).remove()
    yield "boundary-covers-roles", boundary.statement("Items").drop("Resource.0")
    yield "boundary-covers-roles", boundary.remove()
    yield "stacks", Part(PIPELINE).remove()

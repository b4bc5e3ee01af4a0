"""The IAM roles of a region, with least privilege: one per function, and one that the peer's functions assume.

No role updates, deletes or scans. But PutItem can replace an item as well as add one, and IAM has no condition key to
distinguish the two. The condition of every write, in the functions' code, protects versions and audit items from being
replaced; and the streams of the tables report each item that was replaced or removed (alarm `tampered-items`).
"""

from collections.abc import Mapping

from cdktn_provider_aws.iam_policy import IamPolicy
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy_attachment import IamRolePolicyAttachment

from healthcare_dr.infra import policy
from healthcare_dr.infra.policy import Condition, Statement
from healthcare_dr.infra.region_context import RegionContext
from patient_api.contract.functions import API, CONFIRM_DOCUMENTS, RECONCILE, RELAY, SENTINEL, FunctionSpec
from patient_api.contract.keys import HEARTBEAT_PARTITION, QUARANTINE_TAG

PEER_ROLE = "documents-peer"
READ_DOCUMENTS = ("s3:GetObject", "s3:GetObjectVersion")
WRITE_DOCUMENTS = ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject")
# By version, so that a quarantine applies only to the content that was compared.
QUARANTINE = ("s3:PutObjectTagging", "s3:PutObjectVersionTagging")
# Tagging replaces all tags of an object: permission to set any tag would permit lifting a quarantine.
ONLY_TO_QUARANTINE: Condition = {"StringEquals": {f"s3:RequestObjectTag/{QUARANTINE_TAG}": "true"}}
ONLY_HEARTBEATS: Condition = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [HEARTBEAT_PARTITION]}}
READ_AND_ADD = ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query")
WRITE_LOGS = ("logs:CreateLogStream", "logs:PutLogEvents")
READ_STREAM = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")


def api(site: RegionContext, key_arn: str) -> str:
    """Return the policy of the function behind the HTTP API."""
    records, audit = site.table_arns
    return policy.document(
        policy.allow(
            "Records",
            ("dynamodb:BatchGetItem", *READ_AND_ADD),
            (records, f"{records}/index/*"),
        ),
        policy.allow("Audit", ("dynamodb:PutItem", "dynamodb:Query"), (audit, f"{audit}/index/*")),
        policy.allow("DocumentsBucket", ["s3:ListBucket"], site.documents_arn),
        policy.allow("Documents", (*READ_DOCUMENTS, *WRITE_DOCUMENTS), f"{site.documents_arn}/*"),
        policy.allow("Key", policy.KEY_USE, key_arn),
        policy.allow("DocumentsOfThePeer", ["sts:AssumeRole"], site.role_arn(PEER_ROLE, site.peer_region)),
        write_logs(site, API),
    )


def confirmation(site: RegionContext, key_arn: str) -> str:
    """Return the policy of the function that confirms, copies and quarantines documents.

    Copies are written in the peer region, through the role that the function assumes there.
    """
    records, audit = site.table_arns
    return policy.document(
        policy.allow(
            "Records",
            READ_AND_ADD,
            (records, f"{records}/index/*"),
        ),
        policy.allow("Audit", ["dynamodb:PutItem"], audit),
        policy.allow("DocumentsBucket", ["s3:ListBucket"], site.documents_arn),
        policy.allow("Documents", READ_DOCUMENTS, f"{site.documents_arn}/*"),
        policy.allow("Quarantine", QUARANTINE, f"{site.documents_arn}/*", condition=ONLY_TO_QUARANTINE),
        policy.allow("Key", policy.KEY_USE, key_arn, condition=through(site, "dynamodb", "s3", "sns")),
        policy.allow("DocumentsOfThePeer", ["sts:AssumeRole"], site.role_arn(PEER_ROLE, site.peer_region)),
        policy.allow("Failures", ["sns:Publish"], site.topic_arn),
        write_logs(site, CONFIRM_DOCUMENTS),
    )


def reconciliation(site: RegionContext, key_arn: str) -> str:
    """Return the policy of the function that reads the streams of both tables.

    It writes conflicts into the records table, and nothing into the audit table.
    """
    records, _ = site.table_arns
    return policy.document(
        policy.allow("Records", READ_AND_ADD, records),
        policy.allow("Stream", READ_STREAM, site.stream_arns),
        # Lambda needs it to create an event source; AWS cannot limit it to a resource.
        policy.allow("FindStreams", ["dynamodb:ListStreams"], "*"),
        policy.allow("Key", policy.KEY_USE, key_arn, condition=through(site, "dynamodb", "sns")),
        policy.allow("Failures", ["sns:Publish"], site.topic_arn),
        write_logs(site, RECONCILE),
    )


def sentinel(site: RegionContext, key_arn: str) -> str:
    """Return the policy of the function that writes its region's heartbeat and reads the peer's, and no other item."""
    records, _ = site.table_arns
    return policy.document(
        policy.allow("Heartbeats", ("dynamodb:GetItem", "dynamodb:PutItem"), records, condition=ONLY_HEARTBEATS),
        policy.allow("Key", policy.KEY_USE, key_arn, condition=through(site, "dynamodb")),
        write_logs(site, SENTINEL),
    )


def relay(site: RegionContext, key_arn: str) -> str:
    """Return the policy of the function that posts notifications to webhooks."""
    parameter = site.regional_arn("ssm", f"parameter/{site.names.of('webhooks')}")
    return policy.document(
        policy.allow("Webhooks", ["ssm:GetParameter"], parameter),
        policy.allow("Key", policy.KEY_USE, key_arn, condition=through(site, "ssm", "sqs")),
        policy.allow("Failures", ["sqs:SendMessage"], site.regional_arn("sqs", site.names.of("undelivered"))),
        write_logs(site, RELAY),
    )


def documents_peer(site: RegionContext, key_arn: str) -> str:
    """Return the policy of the role by which the peer's functions read, copy and quarantine documents here."""
    return policy.document(
        policy.allow("DocumentsBucket", ["s3:ListBucket"], site.documents_arn),
        policy.allow("Documents", (*READ_DOCUMENTS, *WRITE_DOCUMENTS), f"{site.documents_arn}/*"),
        policy.allow("Quarantine", QUARANTINE, f"{site.documents_arn}/*", condition=ONLY_TO_QUARANTINE),
        policy.allow("Key", policy.KEY_USE, key_arn),
    )


def through(site: RegionContext, *services: str) -> Condition:
    """Return a condition that allows a key only through these services of the region, never by a direct call."""
    return {"StringEquals": {"kms:ViaService": [f"{service}.{site.region}.amazonaws.com" for service in services]}}


def write_logs(site: RegionContext, function: FunctionSpec) -> Statement:
    """Return the statement by which Lambda writes a function's log lines.

    AWS's managed policy for it also allows creating log groups: lines that Lambda writes after the group was destroyed
    would create it again, without key and retention, and the next deployment would fail on it (trap 38).
    """
    group = site.names.lambda_log_group(site.names.of(function.name))
    return policy.allow("Logs", WRITE_LOGS, site.regional_arn("logs", f"log-group:{group}:*"))


# A role's name has at most 64 characters, so `confirmation` is shorter than the function's name.
POLICIES = {
    "patient-api": api,
    "confirmation": confirmation,
    "reconciliation": reconciliation,
    "sentinel": sentinel,
    PEER_ROLE: documents_peer,
    "relay": relay,
}


def roles(site: RegionContext) -> dict[str, IamRole]:
    """Create all roles by name. `grant` adds permissions later: they need the key, and its policy needs the roles."""
    peers = [site.role_arn(name, site.peer_region) for name in ("patient-api", "confirmation")]
    description = f"Lets the functions of {site.peer_region} read and write documents of {site.region}"
    return {
        name: IamRole(
            site.stack,
            "api_role" if name == "patient-api" else f"{name.replace('-', '_')}_role",
            name=site.names.of(name, site.region),
            description=description if name == PEER_ROLE else None,
            assume_role_policy=(
                policy.trust_roles(site.account, peers)
                if name == PEER_ROLE
                else policy.trust_service("lambda.amazonaws.com")
            ),
        )
        for name in POLICIES
        if name != "relay" or site.settings.operations_webhooks
    }


def grant(site: RegionContext, granted: Mapping[str, IamRole], *, key_arn: str) -> dict[str, IamRolePolicyAttachment]:
    """Attach its permissions to each role and return the attachment, on which the role's function depends."""
    attachments: dict[str, IamRolePolicyAttachment] = {}
    for name, role in granted.items():
        identifier = name.replace("-", "_")
        document = POLICIES[name](site, key_arn)
        managed = IamPolicy(site.stack, f"{identifier}_policy", name=site.names.of(name, site.region), policy=document)
        attachments[name] = IamRolePolicyAttachment(
            site.stack, f"{identifier}_permissions", role=role.name, policy_arn=managed.arn
        )
    return attachments

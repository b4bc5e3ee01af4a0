"""The IAM roles of a region, with least privilege: one per function, and one that the peer's functions assume.

No role updates, deletes or scans. But PutItem can replace an item as well as add one, and IAM has no condition key to
tell the two apart. The condition of every write, in the functions' code, protects versions and audit items from being
replaced; and the streams of the tables report each item that was replaced or removed (alarm `tampered-items`).
"""

from dataclasses import dataclass

from cdktn import ITerraformDependable, TerraformStack
from cdktn_provider_aws.iam_policy import IamPolicy
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy_attachment import IamRolePolicyAttachment

from healthcare_dr.infra import policy
from healthcare_dr.infra.policy import Condition
from healthcare_dr.infra.region_context import RegionContext
from patient_api.contract.keys import HEARTBEAT_PARTITION, QUARANTINE_TAG

READ_DOCUMENTS = ("s3:GetObject", "s3:GetObjectVersion")
WRITE_DOCUMENTS = ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject")
# By version, so that a quarantine meets the bytes that were looked at and no others.
QUARANTINE = ("s3:PutObjectTagging", "s3:PutObjectVersionTagging")
# Tagging replaces all tags of an object: permission to set any tag would permit lifting a quarantine.
ONLY_TO_QUARANTINE: Condition = {"StringEquals": {f"s3:RequestObjectTag/{QUARANTINE_TAG}": "true"}}
ONLY_HEARTBEATS: Condition = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [HEARTBEAT_PARTITION]}}
READ_STREAM = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams")


def api(site: RegionContext, key_arn: str) -> str:
    """The function behind the HTTP API."""
    records, audit = site.table_arns
    return policy.document(
        policy.allow(
            "Records",
            (
                "dynamodb:BatchGetItem",
                "dynamodb:ConditionCheckItem",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:Query",
            ),
            (records, f"{records}/index/*"),
        ),
        policy.allow("Audit", ("dynamodb:PutItem", "dynamodb:Query"), (audit, f"{audit}/index/*")),
        policy.allow("DocumentsBucket", ["s3:ListBucket"], site.documents_arn),
        policy.allow("Documents", (*READ_DOCUMENTS, *WRITE_DOCUMENTS), f"{site.documents_arn}/*"),
        policy.allow("Key", policy.KEY_USE, key_arn),
        policy.allow("DocumentsOfThePeer", ["sts:AssumeRole"], site.role_arn("documents-peer", site.peer_region)),
    )


def confirmation(site: RegionContext, key_arn: str) -> str:
    """Return the policy of the function that confirms, copies and quarantines documents.

    Copies are written in the peer region, through the role that the function assumes there.
    """
    records, audit = site.table_arns
    return policy.document(
        policy.allow(
            "Records",
            ("dynamodb:ConditionCheckItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"),
            (records, f"{records}/index/*"),
        ),
        policy.allow("Audit", ["dynamodb:PutItem"], audit),
        policy.allow("DocumentsBucket", ["s3:ListBucket"], site.documents_arn),
        policy.allow("Documents", READ_DOCUMENTS, f"{site.documents_arn}/*"),
        policy.allow("Quarantine", QUARANTINE, f"{site.documents_arn}/*", condition=ONLY_TO_QUARANTINE),
        policy.allow("Key", policy.KEY_USE, key_arn, condition=through(site, "dynamodb", "s3", "sns")),
        policy.allow("DocumentsOfThePeer", ["sts:AssumeRole"], site.role_arn("documents-peer", site.peer_region)),
        policy.allow("Failures", ["sns:Publish"], site.topic_arn),
    )


def reconciliation(site: RegionContext, key_arn: str) -> str:
    """The function that reads the streams of both tables: what arrives in records, and what was changed in audit. It
    writes what conflicts into records, and nothing into audit."""
    records, _ = site.table_arns
    return policy.document(
        policy.allow("Records", ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"), records),
        policy.allow("Stream", READ_STREAM, site.stream_arns),
        policy.allow("Key", policy.KEY_USE, key_arn, condition=through(site, "dynamodb", "sns")),
        policy.allow("Failures", ["sns:Publish"], site.topic_arn),
    )


def sentinel(site: RegionContext, key_arn: str) -> str:
    """The function that writes its region's heartbeat and reads the peer's: no other item is in its reach."""
    records, _ = site.table_arns
    return policy.document(
        policy.allow("Heartbeats", ("dynamodb:GetItem", "dynamodb:PutItem"), records, condition=ONLY_HEARTBEATS),
        policy.allow("Key", policy.KEY_USE, key_arn, condition=through(site, "dynamodb")),
    )


def documents_peer(site: RegionContext, key_arn: str) -> str:
    """The role that the peer's functions take to read, copy and quarantine documents here."""
    return policy.document(
        policy.allow("DocumentsBucket", ["s3:ListBucket"], site.documents_arn),
        policy.allow("Documents", (*READ_DOCUMENTS, *WRITE_DOCUMENTS), f"{site.documents_arn}/*"),
        policy.allow("Quarantine", QUARANTINE, f"{site.documents_arn}/*", condition=ONLY_TO_QUARANTINE),
        policy.allow("Key", policy.KEY_USE, key_arn),
    )


def through(site: RegionContext, *services: str) -> Condition:
    """Return a condition that allows a key only through these services of the region, never by a direct call."""
    return {"StringEquals": {"kms:ViaService": [f"{service}.{site.region}.amazonaws.com" for service in services]}}


BASIC_EXECUTION = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The role of each function, and the one that the peer's functions may take."""

    api: IamRole
    confirmation: IamRole
    reconciliation: IamRole
    sentinel: IamRole
    documents_peer: IamRole


@dataclass(frozen=True, kw_only=True)
class Permissions:
    """The policy attachments that each function depends on: without them its first calls would be denied."""

    api: list[ITerraformDependable]
    confirmation: list[ITerraformDependable]
    reconciliation: list[ITerraformDependable]
    sentinel: list[ITerraformDependable]


def roles(stack: TerraformStack, site: RegionContext) -> Roles:
    """All roles, without the permissions: those name the key, whose policy names these roles."""
    peers = [site.role_arn(name, site.peer_region) for name in ("patient-api", "confirmation")]
    return Roles(
        api=_function_role(stack, site, "api_role", "patient-api"),
        # A role's name takes 64 characters, so it is shorter than the function's.
        confirmation=_function_role(stack, site, "confirmation_role", "confirmation"),
        reconciliation=_function_role(stack, site, "reconciliation_role", "reconciliation"),
        sentinel=_function_role(stack, site, "sentinel_role", "sentinel"),
        documents_peer=IamRole(
            stack,
            "documents_peer_role",
            name=site.names.of("documents-peer", site.region),
            description=f"Lets the functions of {site.peer_region} read and write documents of {site.region}",
            assume_role_policy=policy.trust_roles(site.account, peers),
        ),
    )


def grant(stack: TerraformStack, site: RegionContext, granted: Roles, *, key_arn: str) -> Permissions:
    """Attach to each role what it needs and nothing more."""
    _attach(stack, site, "documents-peer", granted.documents_peer, documents_peer(site, key_arn))
    return Permissions(
        api=[
            _attach(stack, site, "patient-api", granted.api, api(site, key_arn)),
            _basic(stack, "basic_execution", granted.api),
        ],
        confirmation=[
            _attach(stack, site, "confirmation", granted.confirmation, confirmation(site, key_arn)),
            _basic(stack, "confirmation_basic_execution", granted.confirmation),
        ],
        reconciliation=[
            _attach(stack, site, "reconciliation", granted.reconciliation, reconciliation(site, key_arn)),
            _basic(stack, "reconciliation_basic_execution", granted.reconciliation),
        ],
        sentinel=[
            _attach(stack, site, "sentinel", granted.sentinel, sentinel(site, key_arn)),
            _basic(stack, "sentinel_basic_execution", granted.sentinel),
        ],
    )


def _function_role(stack: TerraformStack, site: RegionContext, identifier: str, name: str) -> IamRole:
    return IamRole(
        stack,
        identifier,
        name=site.names.of(name, site.region),
        assume_role_policy=policy.trust_service("lambda.amazonaws.com"),
    )


def _attach(
    stack: TerraformStack, site: RegionContext, name: str, role: IamRole, document: str
) -> IamRolePolicyAttachment:
    identifier = name.replace("-", "_")
    managed = IamPolicy(stack, f"{identifier}_policy", name=site.names.of(name, site.region), policy=document)
    return IamRolePolicyAttachment(stack, f"{identifier}_permissions", role=role.name, policy_arn=managed.arn)


def _basic(stack: TerraformStack, identifier: str, role: IamRole) -> IamRolePolicyAttachment:
    return IamRolePolicyAttachment(stack, identifier, role=role.name, policy_arn=BASIC_EXECUTION)

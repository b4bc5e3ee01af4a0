"""What each function's role may do, and nothing more.

No role updates, deletes or scans; nobody reads a table from one end to the other. But PutItem can replace an item as
well as add one, and no condition key of IAM tells the two apart. What guards versions and audit items from being
replaced is the condition of every write, in the functions' code. And it is watched: the streams of the tables tell of
each that was replaced or removed, by whomever (streams.py, alarm `tampered-items`).
"""

from healthcare_dr.infra import policy
from healthcare_dr.infra.documents import QUARANTINE_TAG
from healthcare_dr.infra.policy import Condition
from healthcare_dr.infra.site import Site

# The partition of the records table that holds each region's sign of life.
HEARTBEATS = "$platform#heartbeat"
READ_DOCUMENTS = ("s3:GetObject", "s3:GetObjectVersion")
WRITE_DOCUMENTS = ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject")
# By version, so that a quarantine meets the bytes that were looked at and no others.
QUARANTINE = ("s3:PutObjectTagging", "s3:PutObjectVersionTagging")
# Tagging replaces all tags of an object: whoever could set any could lift a quarantine.
ONLY_TO_QUARANTINE: Condition = {"StringEquals": {f"s3:RequestObjectTag/{QUARANTINE_TAG}": "true"}}
ONLY_HEARTBEATS: Condition = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [HEARTBEATS]}}
READ_STREAM = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams")


def api(site: Site, key_arn: str) -> str:
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


def confirmation(site: Site, key_arn: str) -> str:
    """The function that compares documents with what was announced, copies what is late and quarantines what is not
    what it should be. Copies are written in the peer region, with the role that it takes there."""
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


def reconciliation(site: Site, key_arn: str) -> str:
    """The function that reads the streams of both tables: what arrives in records, and what was changed in audit. It
    writes what conflicts into records, and nothing into audit."""
    records, _ = site.table_arns
    return policy.document(
        policy.allow("Records", ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"), records),
        policy.allow("Stream", READ_STREAM, site.stream_arns),
        policy.allow("Key", policy.KEY_USE, key_arn, condition=through(site, "dynamodb", "sns")),
        policy.allow("Failures", ["sns:Publish"], site.topic_arn),
    )


def sentinel(site: Site, key_arn: str) -> str:
    """The function that writes its region's heartbeat and reads the peer's: no other item is in its reach."""
    records, _ = site.table_arns
    return policy.document(
        policy.allow("Heartbeats", ("dynamodb:GetItem", "dynamodb:PutItem"), records, condition=ONLY_HEARTBEATS),
        policy.allow("Key", policy.KEY_USE, key_arn, condition=through(site, "dynamodb")),
    )


def documents_peer(site: Site, key_arn: str) -> str:
    """The role that the peer's functions take to read, copy and quarantine documents here."""
    return policy.document(
        policy.allow("DocumentsBucket", ["s3:ListBucket"], site.documents_arn),
        policy.allow("Documents", (*READ_DOCUMENTS, *WRITE_DOCUMENTS), f"{site.documents_arn}/*"),
        policy.allow("Quarantine", QUARANTINE, f"{site.documents_arn}/*", condition=ONLY_TO_QUARANTINE),
        policy.allow("Key", policy.KEY_USE, key_arn),
    )


def through(site: Site, *services: str) -> Condition:
    """Only when one of these services of the region asks on the role's behalf, never by a call of its own."""
    return {"StringEquals": {"kms:ViaService": [f"{service}.{site.region}.amazonaws.com" for service in services]}}

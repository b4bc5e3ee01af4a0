"""Checks of the document buckets: versioning, access, encryption, replication and notifications."""

from collections.abc import Iterator, Mapping
from typing import Any

from healthcare_dr.ops.verify.check import REDEPLOY, each_region
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.policies import differences, requires_tls

BLOCKS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


@each_region(
    "bucket-versioning", "R3.2", "D5",
    expects="The documents bucket keeps versions",
    why="S3 replicates only between versioned buckets, and an overwritten or deleted document is lost otherwise.",
    fix="`aws s3api put-bucket-versioning --bucket BUCKET --versioning-configuration Status=Enabled`, or `hdr deploy`",
    gates_restore=True,
)  # fmt: skip
def versioning(live: LiveTarget, region: str) -> Iterator[str]:
    bucket = live.documents_bucket(region)
    status = live.request("s3", region, "get_bucket_versioning", Bucket=bucket).get("Status", "off")
    if status != "Enabled":
        yield f"versioning of {bucket} is {status}"


@each_region(
    "bucket-closed", "C6", "trap 19",
    expects="All four public access blocks of the documents bucket are on",
    why="A bucket that was opened during a recovery exposes patient data.",
    fix=REDEPLOY,
)  # fmt: skip
def closed(live: LiveTarget, region: str) -> Iterator[str]:
    bucket = live.documents_bucket(region)
    missing = ("NoSuchPublicAccessBlockConfiguration",)
    found = live.request_optional("s3", region, "get_public_access_block", missing, Bucket=bucket) or {}
    blocks = found.get("PublicAccessBlockConfiguration") or {}
    off = [block for block in BLOCKS if blocks.get(block) is not True]
    if off:
        yield f"{bucket} does not have {', '.join(off)}"


@each_region(
    "bucket-policy", "C6", "R3.3", "trap 19",
    expects="The documents bucket's policy requires TLS from every principal, and is the deployed one",
    why="Without a statement, plaintext or other keys are accepted; an additional one can deny the API or replication "
    "when the region has to serve alone.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def policy(live: LiveTarget, region: str) -> Iterator[str]:
    bucket = live.documents_bucket(region)
    found = live.request_optional("s3", region, "get_bucket_policy", ("NoSuchBucketPolicy",), Bucket=bucket)
    if found is None:
        yield f"{bucket} has no policy, so TLS is not required"
        return
    if not requires_tls(found["Policy"], f"arn:aws:s3:::{bucket}"):
        yield f"the policy of {bucket} does not require TLS from every principal"
        return
    for deployed in live.deployed.of("aws_s3_bucket_policy", region):
        if deployed["bucket"] == bucket:
            yield from (f"policy of {bucket}: {text}" for text in differences(deployed["policy"], found["Policy"]))


@each_region(
    "bucket-encryption", "R3.3", "C4",
    expects="The documents bucket encrypts with its own region's key, with a bucket key",
    why="Documents under another region's key are lost together with that region.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def encryption(live: LiveTarget, region: str) -> Iterator[str]:
    bucket, wanted = live.documents_bucket(region), live.deployed.output(region, "key_arn")
    missing = ("ServerSideEncryptionConfigurationNotFoundError",)
    found = live.request_optional("s3", region, "get_bucket_encryption", missing, Bucket=bucket) or {}
    rules = (found.get("ServerSideEncryptionConfiguration") or {}).get("Rules") or [{}]
    default = rules[0].get("ApplyServerSideEncryptionByDefault") or {}
    if default.get("SSEAlgorithm") != "aws:kms" or default.get("KMSMasterKeyID") != wanted:
        actual = default.get("KMSMasterKeyID") or default.get("SSEAlgorithm", "nothing")
        yield f"{bucket} encrypts with {actual}, not {wanted}"
    elif rules[0].get("BucketKeyEnabled") is not True:
        yield f"{bucket} has no bucket key, so the replication role's encryption context does not fit"


@each_region(
    "document-replication", "R3.1", "C3", "trap 10", "trap 11", "trap 13", "trap 14",
    expects="An enabled rule with the deployed role replicates all documents to the other region: encrypted objects, "
    "with the key of that region, changes of replicas, and delete markers",
    why="Without one of these parts, some documents are silently not replicated; failback needs both directions.",
    fix=f"{REDEPLOY}; documents written meanwhile need `aws s3control create-job` (S3 Batch Replication)",
    gates_restore=True,
)  # fmt: skip
def replication(live: LiveTarget, region: str) -> Iterator[str]:
    bucket, peer = live.documents_bucket(region), live.peer(region)
    missing = ("ReplicationConfigurationNotFoundError",)
    found = live.request_optional("s3", region, "get_bucket_replication", missing, Bucket=bucket)
    wanted = f"arn:aws:s3:::{live.documents_bucket(peer)}"
    rules = found["ReplicationConfiguration"]["Rules"] if found else []
    rules = [rule for rule in rules if rule["Destination"]["Bucket"] == wanted]
    if not rules:
        yield f"{bucket} is not replicated to {peer}"
        return
    role = found["ReplicationConfiguration"].get("Role") if found else None
    for deployed in live.deployed.of("aws_s3_bucket_replication_configuration", region):
        if deployed["bucket"] == bucket and deployed["role"] != role:
            yield f"{bucket}: replication uses the role {role}, not {deployed['role']}"
    lacking = min((list(_lacking(rule, live.deployed.output(peer, "key_arn"))) for rule in rules), key=len)
    yield from (f"{bucket}: {text}" for text in lacking)


@each_region(
    "document-events", "C3", "R3.1", "trap 15",
    expects="Uploads invoke the document-confirmation function, and failed replications are published to the topic",
    why="S3 replicates within 15 minutes at best: the function that uploads invoke achieves the recovery point.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def events(live: LiveTarget, region: str) -> Iterator[str]:
    bucket = live.documents_bucket(region)
    found = live.request("s3", region, "get_bucket_notification_configuration", Bucket=bucket)
    notified = {
        (configuration.get(arn), event)
        for kind, arn in (("LambdaFunctionConfigurations", "LambdaFunctionArn"), ("TopicConfigurations", "TopicArn"))
        for configuration in found.get(kind) or ()
        for event in configuration["Events"]
    }
    for deployed in live.deployed.of("aws_s3_bucket_notification", region):
        for block, arn in (("lambda_function", "lambda_function_arn"), ("topic", "topic_arn")):
            for wanted in deployed[block] or ():
                for event in wanted["events"]:
                    if deployed["bucket"] == bucket and (wanted[arn], event) not in notified:
                        yield f"{bucket} does not notify {wanted[arn].rpartition(':')[2]} of {event}"


def _lacking(rule: Mapping[str, Any], key_arn: str) -> Iterator[str]:
    selection, destination = rule.get("SourceSelectionCriteria") or {}, rule["Destination"]
    if rule.get("Status") != "Enabled":
        yield "its rule is disabled"
    narrowed = rule.get("Filter") or {}
    if narrowed.get("Prefix") or narrowed.get("Tag") or narrowed.get("And") or rule.get("Prefix"):
        yield "its rule does not select all documents"
    for name, text in (
        ("SseKmsEncryptedObjects", "encrypted objects are not selected"),
        ("ReplicaModifications", "changes of replicas are not replicated back"),
    ):
        if (selection.get(name) or {}).get("Status") != "Enabled":
            yield text
    if (rule.get("DeleteMarkerReplication") or {}).get("Status") != "Enabled":
        yield "delete markers are not replicated"
    if (destination.get("EncryptionConfiguration") or {}).get("ReplicaKmsKeyID") != key_arn:
        yield "replicas are not encrypted with the other region's key"
    if (destination.get("Metrics") or {}).get("Status") != "Enabled":
        yield "its rule has no metrics"

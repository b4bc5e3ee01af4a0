"""Checks of the document buckets: versioning, access, encryption, replication and notifications."""

from collections.abc import Iterator, Mapping
from typing import Any

from healthcare_dr.ops.verify.check import REDEPLOY, each_region
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.policies import demands_tls, differences

BLOCKS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


@each_region(
    "bucket-versioning", "R3.2", "D5",
    expects="The documents bucket keeps versions",
    why="S3 replicates only between versioned buckets, and what was overwritten or deleted is gone without versions.",
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
    why="A region opened in the haste of a recovery is a breach.",
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
    why="A statement that is missing lets plaintext or foreign keys in; one that was added can shut out the API or "
    "replication just when the region has to serve alone.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def policy(live: LiveTarget, region: str) -> Iterator[str]:
    bucket = live.documents_bucket(region)
    found = live.request_optional("s3", region, "get_bucket_policy", ("NoSuchBucketPolicy",), Bucket=bucket)
    if found is None:
        yield f"{bucket} has no policy: nothing demands TLS"
        return
    if not demands_tls(found["Policy"], f"arn:aws:s3:::{bucket}"):
        yield f"the policy of {bucket} does not require TLS from every principal"
        return
    for deployed in live.deployed.of("aws_s3_bucket_policy", region):
        if deployed["bucket"] == bucket:
            yield from (f"policy of {bucket}: {told}" for told in differences(deployed["policy"], found["Policy"]))


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
    said = rules[0].get("ApplyServerSideEncryptionByDefault") or {}
    if said.get("SSEAlgorithm") != "aws:kms" or said.get("KMSMasterKeyID") != wanted:
        actual = said.get("KMSMasterKeyID") or said.get("SSEAlgorithm", "nothing")
        yield f"{bucket} encrypts with {actual}, not {wanted}"
    elif rules[0].get("BucketKeyEnabled") is not True:
        yield f"{bucket} has no bucket key, so the replication role's encryption context does not fit"


@each_region(
    "document-replication", "R3.1", "C3", "trap 10", "trap 11", "trap 13", "trap 14",
    expects="An enabled rule replicates all documents to the other region, by the role it was deployed with: encrypted "
    "ones, with the key over there, changes of replicas, and delete markers",
    why="Each part that is missing lets some documents stay behind without a word, and failback needs both directions.",
    fix=f"{REDEPLOY}; what was written meanwhile needs `aws s3control create-job` (S3 Batch Replication)",
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
            yield f"{bucket}: replication goes by the role {role}, not {deployed['role']}"
    lacking = min((list(_lacking(rule, live.deployed.output(peer, "key_arn"))) for rule in rules), key=len)
    yield from (f"{bucket}: {told}" for told in lacking)


@each_region(
    "document-events", "C3", "R3.1", "trap 15",
    expects="Uploads call the confirming function, and failed replications reach the topic",
    why="S3 alone replicates within 15 minutes at best: the function that the uploads call is what keeps the recovery "
    "point of documents.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def events(live: LiveTarget, region: str) -> Iterator[str]:
    bucket = live.documents_bucket(region)
    found = live.request("s3", region, "get_bucket_notification_configuration", Bucket=bucket)
    told = {
        (told.get(arn), event)
        for kind, arn in (("LambdaFunctionConfigurations", "LambdaFunctionArn"), ("TopicConfigurations", "TopicArn"))
        for told in found.get(kind) or ()
        for event in told["Events"]
    }
    for deployed in live.deployed.of("aws_s3_bucket_notification", region):
        for block, arn in (("lambda_function", "lambda_function_arn"), ("topic", "topic_arn")):
            for wanted in deployed[block] or ():
                for event in wanted["events"]:
                    if deployed["bucket"] == bucket and (wanted[arn], event) not in told:
                        yield f"{bucket} does not tell {wanted[arn].rpartition(':')[2]} of {event}"


def _lacking(rule: Mapping[str, Any], key_arn: str) -> Iterator[str]:
    selection, destination = rule.get("SourceSelectionCriteria") or {}, rule["Destination"]
    if rule.get("Status") != "Enabled":
        yield "its rule is disabled"
    narrowed = rule.get("Filter") or {}
    if narrowed.get("Prefix") or narrowed.get("Tag") or narrowed.get("And") or rule.get("Prefix"):
        yield "its rule leaves documents out"
    for name, told in (
        ("SseKmsEncryptedObjects", "encrypted objects are not selected"),
        ("ReplicaModifications", "changes of replicas are not replicated back"),
    ):
        if (selection.get(name) or {}).get("Status") != "Enabled":
            yield told
    if (rule.get("DeleteMarkerReplication") or {}).get("Status") != "Enabled":
        yield "delete markers are not replicated"
    if (destination.get("EncryptionConfiguration") or {}).get("ReplicaKmsKeyID") != key_arn:
        yield "replicas are not encrypted with the other region's key"
    if (destination.get("Metrics") or {}).get("Status") != "Enabled":
        yield "replication is not measured"

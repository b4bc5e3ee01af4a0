"""Checks of the document buckets."""

import pytest

from unit.ops.verify.fakes import EAST, WEST, deployed, live, problems, resource

BUCKET, PEER = (f"hdr-documents-123456789012-{region}-dev" for region in (EAST, WEST))


REPLICATED = deployed(
    common=[
        resource("aws_s3_bucket_replication_configuration", "one", bucket=BUCKET, role="arn:role/replication"),
        resource("aws_s3_bucket_replication_configuration", "other", alias="secondary", bucket=PEER, role="arn:other"),
    ]
)


ON = {"Status": "Enabled"}


RULE = {
    "Status": "Enabled", "Filter": {"Prefix": ""}, "DeleteMarkerReplication": ON,
    "SourceSelectionCriteria": {"SseKmsEncryptedObjects": ON, "ReplicaModifications": ON},
    "Destination": {
        "Bucket": f"arn:aws:s3:::{PEER}", "Metrics": ON,
        "EncryptionConfiguration": {"ReplicaKmsKeyID": deployed().output(WEST, "key_arn")},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("arn:role/replication", []),
        ("arn:role/else", [f"{BUCKET}: replication uses the role arn:role/else, not arn:role/replication"]),
    ],
)
def test_replication_with_another_role_is_a_problem(role: str, expected: list[str]) -> None:
    answer = {"ReplicationConfiguration": {"Role": role, "Rules": [RULE]}}
    assert (
        problems("document-replication", live({("s3", "get_bucket_replication"): answer}, held=REPLICATED)) == expected
    )

"""Find what a plan would destroy, in the JSON of `terraform show -json` with the AWS provider 5.100."""

import pytest
from cdktn_provider_aws import (
    cloudwatch_log_group,
    dynamodb_table,
    kms_key,
    kms_replica_key,
    route53_zone,
    s3_bucket,
    s3_bucket_lifecycle_configuration,
)

from healthcare_dr.naming import GLOBAL, PRIMARY
from healthcare_dr.ops.terraform.events import PlannedChange
from healthcare_dr.ops.terraform.protection import KINDS, UPDATES, ProtectedChange, may_destroy, protected_changes

EAST, WEST = ("arn:aws:kms:us-east-1:123456789012:key/1", "arn:aws:kms:us-west-2:123456789012:key/2")
TABLE = "aws_dynamodb_table.patient_records"
GROUP = "aws_cloudwatch_log_group.access_log_group"


def changed(address: str, actions: list[str], before: object = None, after: object = None) -> dict[str, object]:
    """Return an entry of `resource_changes`."""
    kind, _, name = address.partition(".")
    change = {"actions": actions, "before": before, "after": after, "after_unknown": {}}
    return {"address": address, "mode": "managed", "type": kind, "name": name, "change": change}


def found(*changes: dict[str, object], stack: str = GLOBAL) -> list[tuple[str, str]]:
    return [(item.address, item.action) for item in protected_changes(stack, {"resource_changes": list(changes)})]


def replica(region: str, key: str | None, **more: object) -> dict[str, object]:
    kept = {"kms_key_arn": key} if key else {}
    return {"region_name": region, "point_in_time_recovery": True, "propagate_tags": True, **kept, **more}


def table(*replicas: dict[str, object], **more: object) -> dict[str, object]:
    return {"name": "patient_records-dev", "replica": list(replicas), **more}


def test_types_are_those_of_the_provider() -> None:
    classes = (
        cloudwatch_log_group.CloudwatchLogGroup, dynamodb_table.DynamodbTable, kms_key.KmsKey,
        kms_replica_key.KmsReplicaKey, route53_zone.Route53Zone, s3_bucket.S3Bucket,
    )  # fmt: skip
    assert {found.TF_RESOURCE_TYPE for found in classes} == set(KINDS)
    lifecycle = s3_bucket_lifecycle_configuration.S3BucketLifecycleConfiguration.TF_RESOURCE_TYPE
    assert set(KINDS) | {lifecycle} > UPDATES > {lifecycle}


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    ("actions", "action"),
    [
        (["delete"], "destroy"),
        (["delete", "create"], "replace"),
        (["create", "delete"], "replace"),
        (["forget"], "forget"),
        (["create", "forget"], "forget"),
    ],
)
def test_destroyed_replaced_and_forgotten_resources_are_found(kind: str, actions: list[str], action: str) -> None:
    resource = changed(f"{kind}.it", actions, {"retention_in_days": 2192}, {})
    assert found(resource, stack=PRIMARY) == [(f"{PRIMARY}:{kind}.it", action)]
    data_source = {**resource, "mode": "data"}
    assert found(data_source) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("actions", [["no-op"], ["create"], ["read"], ["update"]])
def test_other_changes_destroy_nothing(kind: str, actions: list[str]) -> None:
    same = {"retention_in_days": 2192, "replica": [replica("us-west-2", WEST)]}
    assert found(changed(f"{kind}.it", actions, None if actions == ["create"] else same, same)) == []


def test_resources_of_other_types_are_not_protected() -> None:
    assert found(changed("aws_vpc.vpc", ["delete"], {}), changed("aws_kms_alias.data", ["delete"], {})) == []


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([], [("us-west-2", "destroy")]),
        ([replica("us-west-2", EAST)], [("us-west-2", "replace")]),
        # The new key is known only after the change.
        ([replica("us-west-2", None)], [("us-west-2", "replace")]),
        ([replica("eu-west-1", WEST)], [("us-west-2", "destroy")]),
        ([replica("us-west-2", WEST, point_in_time_recovery=False)], []),
        ([replica("eu-west-1", EAST), replica("us-west-2", WEST)], []),
    ],
    ids=["removed", "another key", "unknown key", "another region", "updated in place", "one more"],
)
def test_updated_table_loses_replicas(after: list[dict[str, object]], expected: list[tuple[str, str]]) -> None:
    update = changed(TABLE, ["update"], table(replica("us-west-2", WEST)), table(*after))
    assert found(update) == [(f"{GLOBAL}:{TABLE}.replica.{region}", action) for region, action in expected]


def test_table_is_named_once_if_it_is_destroyed_with_its_replicas() -> None:
    assert found(changed(TABLE, ["delete"], table(replica("us-west-2", WEST)))) == [(f"{GLOBAL}:{TABLE}", "destroy")]


@pytest.mark.parametrize(
    ("days", "actions", "after", "expected"),
    [
        (2192, ["delete"], None, "destroy"),
        (365, ["delete"], None, "destroy"),
        (0, ["delete"], None, "destroy"),
        (30, ["delete"], None, None),
        (2192, ["update"], 30, "shorten"),
        (0, ["update"], 2192, "shorten"),
        (2192, ["update"], 3653, None),
        (2192, ["update"], 0, None),
        (90, ["update"], 30, None),
    ],
)
def test_log_groups_of_long_retention_are_protected(
    days: int, actions: list[str], after: int | None, expected: str | None
) -> None:
    """0 keeps the events forever."""
    settings = None if after is None else {"retention_in_days": after}
    resource = changed(GROUP, actions, {"name": "/aws/access", "retention_in_days": days}, settings)
    assert found(resource) == ([(f"{GLOBAL}:{GROUP}", expected)] if expected else [])


def test_line_states_resource_and_loss() -> None:
    (update,) = protected_changes(
        GLOBAL, {"resource_changes": [changed(TABLE, ["update"], table(replica("us-west-2", WEST)), table())]}
    )
    assert update.line() == (
        f"{GLOBAL}:{TABLE}.replica.us-west-2 (destroy): replica of patient_records-dev in us-west-2: the table's copy "
        "in this region, and its points of recovery"
    )
    forgotten = ProtectedChange(f"{PRIMARY}:aws_s3_bucket.b", "forget", "bucket", "documents", "every version")
    assert "bucket documents: it stays in AWS" in forgotten.line()


LIFECYCLE = "aws_s3_bucket_lifecycle_configuration.trail_lifecycle"


def rule(*, status: str = "Enabled", only: str | None = None, **blocks: dict[str, object]) -> dict[str, object]:
    """Return a rule as the provider plans it."""
    selected: dict[str, object] = {"prefix": only or "", "and": [], "tag": [], "object_size_greater_than": None}
    none: dict[str, object] = {"expiration": [], "noncurrent_version_expiration": []}
    return {"id": "r", "status": status, "prefix": "", "filter": [selected], **none,
            **{name: [block] for name, block in blocks.items()}}  # fmt: skip


def expires(days: int | None, **more: object) -> dict[str, object]:
    return {"days": days, "date": None, "expired_object_delete_marker": False, **more}


def expiring(days: int | None, **more: object) -> dict[str, object]:
    return rule(expiration=expires(days, **more))


def old_versions(days: int, kept: int | None = None) -> dict[str, object]:
    return rule(noncurrent_version_expiration={"noncurrent_days": days, "newer_noncurrent_versions": kept})


@pytest.mark.requirement("C6")
@pytest.mark.parametrize(
    ("before", "after", "loss"),
    [
        ([expiring(2192)], [expiring(2191)], "objects older than 2191 days"),
        ([expiring(30)], [expiring(29)], "objects older than 29 days"),
        ([], [expiring(3650)], "objects older than 3650 days"),
        ([rule()], [expiring(3650)], "objects older than 3650 days"),
        ([expiring(0, expired_object_delete_marker=True)], [expiring(9)], "objects older than 9 days"),
        ([rule(status="Disabled", expiration=expires(9))], [expiring(9)], "objects older than 9 days"),
        ([rule(only="a/", expiration=expires(9))], [expiring(9)], "objects older than 9 days"),
        ([old_versions(90)], [old_versions(30)], "old versions of objects older than 30 days"),
        ([old_versions(90, 5)], [old_versions(90, 4)], "old versions of objects older than 90 days"),
        ([expiring(None, date="2030-01-01T00:00:00Z")], [expiring(None, date="2029-01-01T00:00:00Z")],
         "objects after 2029-01-01T00:00:00Z"),
        ([expiring(9), old_versions(9)], [expiring(8), old_versions(7)],
         "objects older than 8 days, old versions of objects older than 7 days"),
        ([expiring(2192)], [expiring(2192)], None),
        ([expiring(2192)], [expiring(2193)], None),
        ([expiring(2192)], [], None),
        ([expiring(9)], [rule(status="Disabled", expiration=expires(8))], None),
        ([expiring(9)], [expiring(9), rule(only="a/", expiration=expires(9))], None),
        ([expiring(9)], [expiring(0, expired_object_delete_marker=True)], None),
        ([old_versions(90, 5)], [old_versions(91, 6)], None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("actions", [["update"], ["delete", "create"]])
def test_lifecycle_that_deletes_objects_earlier_is_found(
    actions: list[str], before: list[dict[str, object]], after: list[dict[str, object]], loss: str | None
) -> None:
    update = changed(LIFECYCLE, actions, {"bucket": "trail", "rule": before}, {"bucket": "trail", "rule": after})
    expected = ProtectedChange(f"{PRIMARY}:{LIFECYCLE}", "shorten", "bucket", "trail", str(loss))
    assert protected_changes(PRIMARY, {"resource_changes": [update]}) == ((expected,) if loss else ())


def test_lifecycle_that_is_created_or_removed_deletes_nothing() -> None:
    rules = {"bucket": "trail", "rule": [expiring(1)]}
    assert found(changed(LIFECYCLE, ["create"], None, rules), changed(LIFECYCLE, ["delete"], rules)) == []


@pytest.mark.parametrize(
    ("kind", "action", "expected"),
    [
        ("aws_s3_bucket_lifecycle_configuration", "update", True),
        ("aws_s3_bucket_lifecycle_configuration", "replace", True),
        ("aws_s3_bucket_lifecycle_configuration", "create", False),
        ("aws_dynamodb_table", "update", True),
        ("aws_cloudwatch_log_group", "update", True),
        ("aws_s3_bucket", "update", False),
        ("aws_s3_bucket", "delete", True),
        ("aws_s3_bucket", "remove", True),
        ("aws_kms_key", "replace", True),
        ("aws_kms_key", "an action of a newer Terraform", True),
        ("aws_kms_key", "create", False),
        ("aws_kms_key", "move", False),
        ("aws_vpc", "delete", False),
    ],
)
def test_only_plans_that_may_destroy_something_are_inspected(kind: str, action: str, expected: bool) -> None:
    assert may_destroy([PlannedChange(f"{kind}.it", action, kind)]) is expected

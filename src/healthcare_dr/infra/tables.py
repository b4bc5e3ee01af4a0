"""The two global tables. One stack owns each table with all its replicas: two owners would delete each other's."""

from dataclasses import dataclass

from cdktn import TerraformStack
from cdktn_provider_aws.dynamodb_table import (
    DynamodbTable,
    DynamodbTableAttribute,
    DynamodbTableGlobalSecondaryIndex,
    DynamodbTablePointInTimeRecovery,
    DynamodbTableReplica,
    DynamodbTableServerSideEncryption,
)

from healthcare_dr.infra.region_context import RegionContext
from patient_api.contract.keys import RECORD_INDEX, UPDATE_INDEX


@dataclass(frozen=True)
class _Index:
    name: str
    hash_key: str
    range_key: str
    projection: str


def records_table(stack: TerraformStack, owner: RegionContext, *, key_arn: str, replica_key_arn: str) -> DynamodbTable:
    """Append-only versions of patient records, and a head item per record.

    `pk` is tenant, type and id; `sk` is `head` or a version's hybrid logical clock. The index finds a tenant's records
    by their last change; its key is sharded, since every write of the tenant lands at its newest end.
    """
    return _global_table(
        stack,
        "patient_records",
        owner,
        name=owner.names.records_table,
        data_class="phi",
        index=_Index(UPDATE_INDEX, "update_shard", "updated", "KEYS_ONLY"),
        key_arn=key_arn,
        replica_key_arn=replica_key_arn,
    )


def audit_table(stack: TerraformStack, owner: RegionContext, *, key_arn: str, replica_key_arn: str) -> DynamodbTable:
    """The audit trail: one item for each access to patient data, granted or refused.

    `pk` is tenant, hour and a shard (trap 9), `sk` the time and the event's id. The index finds the accesses to one
    record in order of time.
    """
    return _global_table(
        stack,
        "audit_logs",
        owner,
        name=owner.names.audit_table,
        data_class="audit",
        index=_Index(RECORD_INDEX, "record", "sk", "ALL"),
        key_arn=key_arn,
        replica_key_arn=replica_key_arn,
    )


def _global_table(
    stack: TerraformStack,
    identifier: str,
    owner: RegionContext,
    *,
    name: str,
    data_class: str,
    index: _Index,
    key_arn: str,
    replica_key_arn: str,
) -> DynamodbTable:
    attributes = dict.fromkeys(("pk", "sk", index.hash_key, index.range_key))
    return DynamodbTable(
        stack,
        identifier,
        name=name,
        billing_mode="PAY_PER_REQUEST",
        hash_key="pk",
        range_key="sk",
        attribute=[DynamodbTableAttribute(name=attribute, type="S") for attribute in attributes],
        global_secondary_index=[
            DynamodbTableGlobalSecondaryIndex(
                name=index.name,
                hash_key=index.hash_key,
                range_key=index.range_key,
                projection_type=index.projection,
            )
        ],
        stream_enabled=True,
        stream_view_type="NEW_AND_OLD_IMAGES",
        deletion_protection_enabled=False,
        point_in_time_recovery=DynamodbTablePointInTimeRecovery(enabled=True),
        server_side_encryption=DynamodbTableServerSideEncryption(enabled=True, kms_key_arn=key_arn),
        replica=[
            DynamodbTableReplica(
                region_name=owner.peer_region,
                kms_key_arn=replica_key_arn,
                point_in_time_recovery=True,
                propagate_tags=True,
            )
        ],
        tags={"Name": name, "DataClass": data_class},
        provider=owner.provider,
    )

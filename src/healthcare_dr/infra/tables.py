"""The two global tables. The global stack owns each with its replica, because two owners would delete each other's."""

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


def records_table(owner: RegionContext, **key_arns: str) -> DynamodbTable:
    """Create the table of append-only versions of patient records, with a head item for each record.

    `pk` is tenant, type and id; `sk` is `head` or a version's hybrid logical clock. The index contains a tenant's
    records by their last change. Its key is sharded, because every write of the tenant is at the newest end.
    """
    index = _index(UPDATE_INDEX, "update_shard", "updated", "KEYS_ONLY")
    return _global_table("patient_records", owner, owner.names.records_table, "phi", index, **key_arns)


def audit_table(owner: RegionContext, **key_arns: str) -> DynamodbTable:
    """Create the audit trail: one item for each access to patient data, granted or refused.

    `pk` is tenant, hour and a shard (trap 9), `sk` the time and the event's id. The index contains the accesses to one
    record in order of time.
    """
    index = _index(RECORD_INDEX, "record", "sk", "ALL")
    return _global_table("audit_logs", owner, owner.names.audit_table, "audit", index, **key_arns)


def _index(name: str, hash_key: str, range_key: str, projection: str) -> DynamodbTableGlobalSecondaryIndex:
    return DynamodbTableGlobalSecondaryIndex(
        name=name, hash_key=hash_key, range_key=range_key, projection_type=projection
    )


def _global_table(
    identifier: str,
    owner: RegionContext,
    name: str,
    data_class: str,
    index: DynamodbTableGlobalSecondaryIndex,
    *,
    key_arn: str,
    replica_key_arn: str,
) -> DynamodbTable:
    attributes = dict.fromkeys(map(str, ("pk", "sk", index.hash_key, index.range_key)))
    return DynamodbTable(
        owner.stack,
        identifier,
        name=name,
        billing_mode="PAY_PER_REQUEST",
        hash_key="pk",
        range_key="sk",
        attribute=[DynamodbTableAttribute(name=attribute, type="S") for attribute in attributes],
        global_secondary_index=[index],
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

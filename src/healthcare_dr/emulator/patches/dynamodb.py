"""DynamoDB global tables."""

from typing import Any

from ministack.core.responses import get_account_id
from ministack.services import dynamodb


def give_a_replica_its_own_key() -> None:
    """A replica reported the primary's key instead of its own, and the primary named no replica's key: the replica
    differed in every plan."""
    update_inner, describe_inner = dynamodb._apply_replica_updates, dynamodb._table_description

    def update(name: str, table: dict[str, Any], updates: list[dict[str, Any]]) -> Any:
        error = update_inner(name, table, updates)
        if not error:
            for change in (change for entry in updates for change in (entry.get("Create"), entry.get("Update"))):
                if change and (key := change.get("KMSMasterKeyId")):
                    replica = dynamodb._tables.get_scoped(get_account_id(), change["RegionName"], name)
                    replica["SSEDescription"] = {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": key}
        return error

    def describe(name: str) -> dict[str, Any]:
        description: dict[str, Any] = describe_inner(name)
        for replica in description.get("Replicas", []):
            table = dynamodb._tables.get_scoped(get_account_id(), replica["RegionName"], name) or {}
            if encryption := table.get("SSEDescription"):
                replica["KMSMasterKeyId"] = encryption["KMSMasterKeyArn"]
        return description

    dynamodb._apply_replica_updates = update
    dynamodb._table_description = describe

"""Read records of the records table other than by id: by index token, and by the time of their last update."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from patient_api.aws import DynamoDB, translated
from patient_api.contract.keys import UPDATE_INDEX, UPDATE_SHARDS, key
from patient_api.errors import StorageFault
from patient_api.store.model import (
    RecordKey,
    Token,
    Version,
    head_sk,
    token_partition,
    update_partition,
    version_of_item,
)

LARGEST_BATCH: Final = 100  # keys of one BatchGetItem
BATCH_ATTEMPTS: Final = 4


@dataclass(frozen=True, order=True)
class IndexEntry:
    """A record in the order of its last update. `updated` is the version's stamp as text."""

    updated: str
    id: str


@dataclass(eq=False, repr=False, kw_only=True)
class Index:
    """The index items and the heads of one region. Every read raises StorageFault. `pause` waits for some seconds."""

    client: DynamoDB
    table: str
    region: str
    pause: Callable[[float], None] = time.sleep

    def ids(self, tenant: str, type: str, token: Token, *, after: str, limit: int) -> Sequence[str]:
        """Return up to `limit` ids after the id `after`, ascending, of records that had the token in any version."""
        condition, values = "pk = :pk", {":pk": {"S": token_partition(tenant, type, token)}}
        if after:
            condition += " AND sk > :after"
            values[":after"] = {"S": after}
        with translated("Query"):
            response = self.client.query(
                TableName=self.table,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                Limit=limit,
            )
        return [item["sk"]["S"] for item in response["Items"]]

    def update_partitions(self, tenant: str, type: str) -> Sequence[str]:
        """Return the partitions of the index `by-update` that together list a tenant's records of a type."""
        return [update_partition(tenant, type, shard, self.region) for shard in range(UPDATE_SHARDS)]

    def updates(self, partition: str, *, low: str, high: str, ascending: bool, limit: int) -> Sequence[IndexEntry]:
        """Return up to `limit` records of a partition of `by-update`, last updated between two stamps (inclusive)."""
        with translated("Query"):
            response = self.client.query(
                TableName=self.table,
                IndexName=UPDATE_INDEX,
                KeyConditionExpression="update_shard = :shard AND updated BETWEEN :low AND :high",
                ExpressionAttributeValues={":shard": {"S": partition}, ":low": {"S": low}, ":high": {"S": high}},
                ScanIndexForward=ascending,
                Limit=limit,
            )
        return [IndexEntry(item["updated"]["S"], item["pk"]["S"].split("#")[2]) for item in response["Items"]]

    def heads(self, keys: Sequence[RecordKey]) -> dict[RecordKey, Version]:
        """Return the heads of up to 100 records. Records without a head are left out."""
        found: dict[RecordKey, Version] = {}
        sort = head_sk(self.region)
        remaining: list[Any] = [key(record.partition, sort) for record in dict.fromkeys(keys)]
        for attempt in range(BATCH_ATTEMPTS):
            if not remaining:
                return found
            if attempt:
                self.pause(random.uniform(0.01, 0.05) * attempt)  # noqa: S311 - spreads readers, guards nothing
            with translated("BatchGetItem"):
                response = self.client.batch_get_item(
                    RequestItems={self.table: {"Keys": remaining, "ConsistentRead": True}}
                )
            versions = (version_of_item(item) for item in response["Responses"].get(self.table, ()))
            found |= {version.key: version for version in versions}
            # A response ends at 16 MB, and DynamoDB may return less under load.
            remaining = response.get("UnprocessedKeys", {}).get(self.table, {}).get("Keys", [])
        if remaining:
            raise StorageFault(operation="BatchGetItem", code="UnprocessedKeys", throttled=True)
        return found

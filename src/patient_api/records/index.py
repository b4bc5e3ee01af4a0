"""What searches are made of: ids by token, records by their last change, and the heads behind ids."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from patient_api.aws import DynamoDB
from patient_api.errors import StorageFault
from patient_api.faults import translated
from patient_api.records.items import UPDATE_SHARDS, Token, head_sk, pk, shard, token_pk, version_in
from patient_api.records.model import RecordKey, Version

UPDATE_INDEX: Final = "by-update"
LARGEST_BATCH: Final = 100  # DynamoDB's own limit
BATCH_ATTEMPTS: Final = 4


@dataclass(frozen=True, order=True)
class Listed:
    """A record in the order of its last change: `updated` is the version's stamp as text."""

    updated: str
    id: str


class Index:
    """The ways into the records' table that are not by id, by the heads of one region. Every read raises StorageFault.

    `pause` waits a number of seconds.
    """

    def __init__(
        self, *, client: DynamoDB, table: str, region: str, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._table = table
        self._region = region
        self._pause = pause

    def shelves(self, tenant: str, type: str) -> Sequence[str]:
        """The partitions of the index `by-update` that together list a tenant's records of a type."""
        return [shard(tenant, type, number, self._region) for number in range(UPDATE_SHARDS)]

    def ids(self, tenant: str, type: str, token: Token, *, after: str, limit: int) -> Sequence[str]:
        """At most `limit` ids of records that had the token in some version, ascending, after the id `after`."""
        condition, values = "pk = :pk", {":pk": {"S": token_pk(tenant, type, token)}}
        if after:
            condition += " AND sk > :after"
            values[":after"] = {"S": after}
        with translated("Query"):
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                Limit=limit,
            )
        return [item["sk"]["S"] for item in answer["Items"]]

    def listed(self, shelf: str, *, low: str, high: str, ascending: bool, limit: int) -> Sequence[Listed]:
        """At most `limit` items on one partition of the index `by-update`, between two stamps, both included."""
        with translated("Query"):
            answer = self._client.query(
                TableName=self._table,
                IndexName=UPDATE_INDEX,
                KeyConditionExpression="update_shard = :shelf AND updated BETWEEN :low AND :high",
                ExpressionAttributeValues={":shelf": {"S": shelf}, ":low": {"S": low}, ":high": {"S": high}},
                ScanIndexForward=ascending,
                Limit=limit,
            )
        return [Listed(item["updated"]["S"], item["pk"]["S"].split("#")[2]) for item in answer["Items"]]

    def heads(self, keys: Sequence[RecordKey]) -> dict[RecordKey, Version]:
        """The heads of at most 100 records; those that have none are left out."""
        found: dict[RecordKey, Version] = {}
        head = {"S": head_sk(self._region)}
        wanted: list[dict[str, Any]] = [{"pk": {"S": pk(key)}, "sk": head} for key in dict.fromkeys(keys)]
        for attempt in range(BATCH_ATTEMPTS):
            if not wanted:
                return found
            if attempt:
                self._pause(random.uniform(0.01, 0.05) * attempt)  # noqa: S311 - spreads readers, guards nothing
            with translated("BatchGetItem"):
                answer = self._client.batch_get_item(
                    RequestItems={self._table: {"Keys": wanted, "ConsistentRead": True}}
                )
            versions = (version_in(item) for item in answer["Responses"].get(self._table, ()))
            found |= {version.key: version for version in versions}
            # What did not fit into one answer of 16 MB, or was more than the table could give at once.
            wanted = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        if wanted:
            raise StorageFault(operation="BatchGetItem", code="UnprocessedKeys", throttled=True)
        return found

"""Markers of the documents that a region has to confirm, listed in the index `by-update` while they are open.

Only the region that lists a document acts on it, so that the two never copy from each other or write the same version
twice. It is the region whose bucket the upload address leads to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from patient_api.aws import DynamoDB, translated
from patient_api.clock import Stamp
from patient_api.contract.keys import PENDING, UPDATE_INDEX, pending_partition
from patient_api.errors import StorageFault
from patient_api.store.model import Marker, RecordKey, marker_item

MOST: Final = 5000  # that one sweep looks at

_UPLOAD: Final = "upload"
_COMPLETED: Final = "completed"


def opened(key: RecordKey, *, at: Stamp, region: str, upload: str | None) -> Marker:
    """The marker of a document that `region` has to confirm; `upload` is the id of its upload in parts."""
    return Marker(key, PENDING, at, pending_partition(region), facts={} if upload is None else {_UPLOAD: upload})


def closed(key: RecordKey, *, at: Stamp) -> Marker:
    """The marker of a document that is done with."""
    return Marker(key, PENDING, at, None)


def upload_of(marker: Marker) -> str | None:
    """The id of the upload in parts that a document waits for."""
    return marker.facts.get(_UPLOAD)


def completed(marker: Marker, *, at: datetime) -> Marker:
    """The marker of a document whose parts are being put together."""
    return replace(marker, facts={**marker.facts, _COMPLETED: at.isoformat()})


def uploaded_at(marker: Marker, modified: datetime) -> datetime:
    """When the bytes came: an object of parts has the time at which its upload was begun."""
    noted = marker.facts.get(_COMPLETED)
    return max(modified, datetime.fromisoformat(noted)) if noted else modified


class Pending:
    """The documents that `region` has to confirm. Every method raises StorageFault."""

    def __init__(self, *, client: DynamoDB, table: str, region: str) -> None:
        self._client = client
        self._table = table
        self._region = region

    @property
    def partition(self) -> str:
        """The partition of `by-update` that lists the region's pending documents."""
        return pending_partition(self._region)

    def marker(self, key: RecordKey) -> Marker | None:
        """A document's marker, open or closed; None when this region has not (yet) got it."""
        with translated("GetItem"):
            answer = self._client.get_item(
                TableName=self._table, Key={"pk": {"S": key.partition}, "sk": {"S": PENDING}}, ConsistentRead=True
            )
        return _marker(key, answer["Item"]) if "Item" in answer else None

    def put(self, marker: Marker) -> None:
        """Put the marker in place of the one that is there."""
        with translated("PutItem"):
            self._client.put_item(TableName=self._table, Item=marker_item(marker))

    def listed(self) -> Sequence[RecordKey]:
        """Return the keys of up to 5000 pending documents, oldest first."""
        found: list[RecordKey] = []
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": UPDATE_INDEX,
            "KeyConditionExpression": "update_shard = :partition",
            "ExpressionAttributeValues": {":partition": {"S": self.partition}},
        }
        while len(found) < MOST:
            with translated("Query"):
                answer = self._client.query(**request, Limit=MOST - len(found))
            found += [RecordKey(*item["pk"]["S"].split("#")) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return found


def _marker(key: RecordKey, item: Mapping[str, Mapping[str, str]]) -> Marker:
    at = Stamp.parse(item["version"]["S"])
    if at is None:
        raise StorageFault(operation="GetItem", code="UnreadableMarker")
    partition = item["update_shard"]["S"] if "update_shard" in item else None
    facts = {name: item[name]["S"] for name in (_UPLOAD, _COMPLETED) if name in item}
    return Marker(key, PENDING, at, partition, facts=facts)

"""Names of indexes and formats of keys in both tables, and the types of the resources that the keys name.

CloudTrail records keys, so no key holds a value of a record. Keys hold ids, and pseudonyms of values (ADR 15).
"""

from datetime import datetime
from typing import Final

PATIENT: Final = "Patient"
DOCUMENT: Final = "DocumentReference"
AUDIT_EVENT: Final = "AuditEvent"

UPDATE_INDEX: Final = "by-update"
"""The index of the records table: heads by their last update, open conflicts, and documents with work left to do."""
RECORD_INDEX: Final = "by-record"
"""The index of the audit table: events by the record that was accessed."""

PLATFORM: Final = "$platform"
"""The tenant of items that belong to the platform. No token can name it: tenants do not contain `$`."""
HEARTBEAT_PARTITION: Final = f"{PLATFORM}#heartbeat"
"""Heartbeats, one item per region; the sort key is the region."""
DRAIN_PARTITION: Final = f"{PLATFORM}#drain"
"""Drain flags, one item per drained region; the sort key is the region."""
HEALTH_PROBE: Final = (f"{PLATFORM}#health", "probe")
"""The key that health probes read. No item has it."""
OPEN_CONFLICTS: Final = f"{PLATFORM}#conflicts"
"""The partition of `by-update` that lists the markers of open conflicts."""
PENDING_PREFIX: Final = f"{PLATFORM}#pending#"
AWAITED_PREFIX: Final = f"{PLATFORM}#awaited#"

HEAD_PREFIX: Final = "head#"
"""Sort keys of heads: `head#<region>`."""
VERSION_PREFIX: Final = "v#"
"""Sort keys of versions: `v#<stamp>`."""
AFTER_VERSIONS: Final = f"{VERSION_PREFIX}~"
"""It sorts after all of them, because stamps begin with a digit."""
LINEAGE_PREFIX: Final = "l#"
"""Sort keys of lineage items: `l#<stamp>`. Each version has one, which is written together with it."""
AFTER_LINEAGE: Final = f"{LINEAGE_PREFIX}~"
CONFLICT_PREFIX: Final = "c#"
"""Sort keys of conflict markers: `c#<stamp>`."""
REPLICA_PREFIX: Final = "replica#"
"""Sort keys of a document's replica items: `replica#<region>`. They sort between heads and versions."""
USED_KEY: Final = "idempotency-key"
"""The sort key of the item with the request that an Idempotency-Key announced a document with. Its partition is that of
a document with the key's id, which does not exist: the id of the document depends on the request too.
"""

UPDATE_SHARDS: Final = 8
"""Partitions of `by-update` for each tenant, type and region."""

QUARANTINE_TAG: Final = "quarantine"
"""The tag, with the value `true`, of objects that the bucket policy makes unreadable."""

Key = dict[str, dict[str, str]]


def key(partition: str, sort: str) -> Key:
    """Return the key of an item in either table, as DynamoDB expects it."""
    return {"pk": {"S": partition}, "sk": {"S": sort}}


def record_partition(tenant: str, type: str, id: str) -> str:
    """Return the partition of all items of one record."""
    return f"{tenant}#{type}#{id}"


def pending_partition(region: str) -> str:
    """Return the partition of `by-update` that lists the uploaded documents that `region` has to confirm.

    Its sort keys are `<tenant>#<milliseconds since 1970 at which the region recorded the object>#<id>`.
    """
    return f"{PENDING_PREFIX}{region}"


def awaited_partition(region: str) -> str:
    """Return the partition of `by-update` that lists the documents of which `region` awaits the bytes or the record.

    Its sort keys are `<tenant>#<milliseconds since 1970 of the next check>#<id>`.
    """
    return f"{AWAITED_PREFIX}{region}"


def instant(time: datetime) -> str:
    """Return a UTC time as a FHIR instant with milliseconds, as keys and resources contain it."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

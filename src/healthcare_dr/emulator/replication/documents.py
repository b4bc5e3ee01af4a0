"""Replicate objects of S3, later changes of their tags, and delete markers, under the destination's KMS key."""

import copy
from functools import partial
from typing import Any

from ministack.core.responses import get_account_id, request_scope
from ministack.services import kms, s3

from healthcare_dr.emulator.replication.queue import ChangeQueues

Record = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

SSE = "x-amz-server-side-encryption"
SSE_KEY = f"{SSE}-aws-kms-key-id"
# The region of a bucket that was created without a location.
FIRST_REGION = "us-east-1"
PENDING, COMPLETED, FAILED, REPLICA = "PENDING", "COMPLETED", "FAILED", "REPLICA"


class ObjectReplication:
    """Queues the writes to buckets with a replication configuration."""

    def __init__(self, queues: ChangeQueues) -> None:
        self._queues = queues
        self._mark_inner = s3._maybe_replicate_delete_marker

    def install(self) -> None:
        """Replace ministack's replication."""
        _restore_statuses()
        s3._maybe_replicate = self._on_write
        s3._maybe_replicate_delete_marker = self._on_delete
        for operation in ("_put_object_tagging", "_delete_object_tagging"):
            setattr(s3, operation, self._and_replicate_tags(getattr(s3, operation)))

    def _on_write(self, bucket: str, key: str, record: Record, body: bytes, tags: dict[str, str] | None = None) -> None:
        rule, role = s3._replication_rule_for(bucket, key, tags)
        if rule is None or not _covers(rule, record):
            return
        record["replication_status"] = PENDING
        self._queues.put(bucket, partial(_apply, get_account_id(), bucket, key, record, body, rule, role))

    def _on_delete(self, bucket: str, key: str) -> None:
        if s3._bucket_replication.get(bucket):
            marker = s3._object_versions[bucket, key][-1]
            self._queues.put(bucket, partial(self._apply_marker, get_account_id(), bucket, key, marker))

    def _apply_marker(self, account: str, bucket: str, key: str, marker: Record) -> None:
        with request_scope(account, _region(account, bucket)):
            rule, role = s3._replication_rule_for(bucket, key, None)
            target = s3._replication_destination(bucket, key, rule, role) if rule else None
            if target is None:
                return
            versions = s3._object_versions.get((target[0], key), [])
            if versions and _order(versions[-1]) > _order(marker):
                return
            count = len(versions)
            self._mark_inner(bucket, key)
            replicated = s3._object_versions.get((target[0], key), [])
            if len(replicated) > count:
                replicated[-1].update(version_id=marker["version_id"], last_modified=marker["last_modified"])
                s3._persist_version_state(target[0], key, target[2])

    def _and_replicate_tags(self, inner: Any) -> Any:
        def change(bucket: str, key: str, *rest: Any) -> Response:
            response: Response = inner(bucket, key, *rest)
            version = response[1].get("x-amz-version-id")
            entry = _entry(bucket, key, version)
            tags = dict(s3._object_tags.get((bucket, key, version)) or {})
            rule, role = s3._replication_rule_for(bucket, key, tags)
            if version is None or entry is None or rule is None or not _covers(rule, entry):
                return response
            if entry.get("replication_status") != REPLICA or _selects(rule, "ReplicaModifications"):
                self._queues.put(bucket, partial(_apply_tags, get_account_id(), bucket, key, version, tags, rule, role))
            return response

        return change


def _apply(account: str, bucket: str, key: str, record: Record, body: bytes, rule: Record, role: str) -> None:
    with request_scope(account, _region(account, bucket)):
        version = record.get("version_id")
        entry = _entry(bucket, key, version)
        # The version has been deleted since the write.
        if entry is None:
            return
        target = s3._replication_destination(bucket, key, rule, role)
        state = FAILED if target is None or not _keys_usable(bucket, target, rule, record) else COMPLETED
        for kept in (record, entry):
            kept["replication_status"] = state
        s3._persist_version_state(bucket, key, s3._buckets[bucket])
        if target is None or state == FAILED:
            return
        tags = s3._object_tags.get((bucket, key, version))
    with request_scope(target[1], _region(target[1], target[0])):
        _store(target[0], key, _replica(record, body, rule), body, tags)


def _replica(record: Record, body: bytes, rule: Record) -> Record:
    replica = copy.deepcopy({**record, "body": None})
    replica.update(body=body, replication_status=REPLICA)
    destination = rule.get("Destination") or {}
    if _encrypted(record) and (key := _replica_key(rule)):
        replica["preserved_headers"][SSE_KEY] = key
    if storage_class := destination.get("StorageClass"):
        replica["storage_class"] = storage_class
    return replica


def _store(bucket: str, key: str, replica: Record, body: bytes, tags: dict[str, str] | None) -> None:
    objects = s3._buckets[bucket]["objects"]
    versions = s3._object_versions.setdefault((bucket, key), [])
    version = replica["version_id"]
    newer = [entry for entry in versions if _order(entry) > _order(replica)]
    if newer:
        # A newer version is current already, as when both regions write the same key.
        versions.insert(versions.index(newer[0]), s3._version_entry_from_record(replica, version, body))
        s3._persist_displaced_version(bucket, key, replica, "Enabled")
    else:
        prior = objects.get(key)
        objects[key] = replica
        s3._record_object_version(bucket, key, prior, replica, body)
        replica["version_id"] = versions[-1]["version_id"] = version
    if tags:
        s3._object_tags[bucket, key, version] = dict(tags)
    s3._persist_version_state(bucket, key, s3._buckets[bucket])
    s3._fire_s3_event_async(
        bucket, key, "s3:ObjectCreated:Put", size=replica["size"], etag=replica["etag"], version_id=version
    )


def _apply_tags(
    account: str, bucket: str, key: str, version: str, tags: dict[str, str], rule: Record, role: str
) -> None:
    with request_scope(account, _region(account, bucket)):
        target = s3._replication_destination(bucket, key, rule, role)
    if target is None:
        return
    name, owner, record = target
    with request_scope(owner, _region(owner, name)):
        if _entry(name, key, version) is not None:
            s3._object_tags[name, key, version] = tags
            s3._persist_version_state(name, key, record)


def _covers(rule: Record, record: Record) -> bool:
    """Return whether a rule replicates the object: objects encrypted with KMS only if the rule includes them."""
    return not _encrypted(record) or _selects(rule, "SseKmsEncryptedObjects")


def _selects(rule: Record, criterion: str) -> bool:
    return ((rule.get("SourceSelectionCriteria") or {}).get(criterion) or {}).get("Status") == "Enabled"


def _encrypted(record: Record) -> bool:
    return (record.get("preserved_headers") or {}).get(SSE) == "aws:kms"


def _replica_key(rule: Record) -> str | None:
    encryption = (rule.get("Destination") or {}).get("EncryptionConfiguration") or {}
    return encryption.get("ReplicaKmsKeyID")


def _keys_usable(bucket: str, target: tuple[str, str, Record], rule: Record, record: Record) -> bool:
    """Return whether the source's key decrypts the object and the destination's key encrypts the replica."""
    if not _encrypted(record):
        return True
    name, owner, _ = target
    places = (
        (get_account_id(), bucket, record["preserved_headers"].get(SSE_KEY)),
        (owner, name, _replica_key(rule)),
    )
    for account, place, key in places:
        with request_scope(account, _region(account, place)):
            found = kms._resolve_key(key) if key else None
        if key and (found is None or found["KeyState"] != "Enabled"):
            return False
    return True


def _entry(bucket: str, key: str, version: str | None) -> Record | None:
    versions = s3._object_versions.get((bucket, key), [])
    return next((entry for entry in versions if entry["version_id"] == version), None)


def _order(entry: Record) -> tuple[str, str]:
    """Return the sort key that orders the versions of an object equally in both buckets."""
    return entry["last_modified"], entry["version_id"]


def _region(account: str, bucket: str) -> str:
    record = s3._buckets.get_scoped(account, None, bucket) or {}
    return str(record.get("region") or FIRST_REGION)


def _restore_statuses() -> None:
    """Restore the replication status of current objects from their versions: a restart loses it."""
    for (account, (bucket, key)), versions in s3._object_versions._data.items():
        record = (s3._buckets.get_scoped(account, None, bucket) or {"objects": {}})["objects"].get(key)
        if record is not None and versions and (state := versions[-1].get("replication_status")):
            record["replication_status"] = state

"""Records, their versions, and the items of the records table.

| item | `pk` | `sk` | attributes beside `version` and `resource` or `deleted` |
|---|---|---|---|
| version | `<tenant>#<type>#<id>` | `v#<stamp>` | `method`, `digest`, `replaces`, `merges`, `fingerprint` |
| lineage | the same | `l#<stamp>` | only `digest`, `replaces`, `merges` |
| head | the same | `head#<region>` | `method`, `digest`, and for the index `by-update`: `update_shard`, `updated` |
| conflict marker | the same | `c#<stamp>` | `members`, and the index's two attributes while it is open |
| replica of a document | the same | `replica#<region>` | see `patient_api.documents.repository` |
| used Idempotency-Key of documents | `<tenant>#DocumentReference#<id of the key>` | `idempotency-key` | `fingerprint` |
| index | `<tenant>#<type>?<parameter>#<blind>` | `<id>` | none |

A head is written and read in its own region only, so that replication cannot move it backwards. `update_shard` is
`<tenant>#<type>#<number>#<region>`: each region lists its own heads.

A lineage item repeats what a version follows, without its content. DynamoDB reads and charges whole items, also when a
request projects few attributes, and a version may have hundreds of kilobytes. Code that needs no content therefore
reads lineage items. A transaction writes a version and its lineage item, but replication can deliver either of them
first.

CloudTrail records keys, so they hold ids and no values of records: values in keys of index items are blinded.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from zlib import crc32

from patient_api.clock import Stamp
from patient_api.contract.keys import HEAD_PREFIX, LINEAGE_PREFIX, UPDATE_SHARDS, VERSION_PREFIX, key, record_partition
from patient_api.errors import StorageFault
from patient_api.fhir.codec import JsonValue, Number, dump

Item = Mapping[str, Mapping[str, Any]]

DELETED: Final = "deleted"
"""The digest of a version that marks a deletion."""

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def is_id(text: str) -> bool:
    """Return whether FHIR allows `text` as an id (https://hl7.org/fhir/R4/datatypes.html#id)."""
    return _ID.fullmatch(text) is not None


class Method(StrEnum):
    """The HTTP method that created a version, as a history shows it (http://hl7.org/fhir/R4/valueset-http-verb.html)."""

    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


@dataclass(frozen=True)
class RecordKey:
    """The key of one tenant's record. `type` is its FHIR resource type."""

    tenant: str
    type: str
    id: str

    @property
    def reference(self) -> str:
        """The FHIR reference, such as `Patient/<id>`."""
        return f"{self.type}/{self.id}"

    @property
    def partition(self) -> str:
        """The partition of the records table."""
        return record_partition(self.tenant, self.type, self.id)


@dataclass(frozen=True)
class Version:
    """One version of a record.

    Attributes:
        resource: the whole resource as compact JSON, id and meta included; None when the version marks a deletion.
        digest: identifies the content, without id, versionId and lastUpdated.
        replaces: the version that its writer replaced; None for a first version. Versions that replace the same one are
            siblings, until a later version also `merges` them. Siblings with the same digest are equal, such as those
            of a request that was repeated in the other region.
        fingerprint: of the idempotent request that created it.
    """

    key: RecordKey
    stamp: Stamp
    method: Method
    resource: str | None
    digest: str
    replaces: Stamp | None = None
    merges: tuple[Stamp, ...] = ()
    fingerprint: str | None = None


def stamped(resource: dict[str, JsonValue], *, key: RecordKey, stamp: Stamp) -> dict[str, JsonValue]:
    """Return `resource` with the id, versionId and lastUpdated of that version."""
    sent = resource.get("meta")
    meta: dict[str, JsonValue] = {
        **(sent if isinstance(sent, dict) else {}),
        "versionId": str(stamp),
        "lastUpdated": stamp.instant,
    }
    rest = {name: value for name, value in resource.items() if name not in {"resourceType", "id", "meta"}}
    return {"resourceType": key.type, "id": key.id, "meta": meta, **rest}


def version_of(
    resource: dict[str, JsonValue],
    *,
    key: RecordKey,
    stamp: Stamp,
    method: Method,
    replaces: Stamp | None = None,
    merges: tuple[Stamp, ...] = (),
    fingerprint: str | None = None,
) -> Version:
    """Return the version with `resource`, stamped, as its content."""
    text = dump(stamped(resource, key=key, stamp=stamp))
    digest = _digest(resource)
    return Version(key, stamp, method, text, digest, replaces=replaces, merges=merges, fingerprint=fingerprint)


def deletion_of(*, key: RecordKey, stamp: Stamp, replaces: Stamp, merges: tuple[Stamp, ...] = ()) -> Version:
    """Return the version that marks a record as deleted."""
    return Version(key, stamp, Method.DELETE, None, DELETED, replaces=replaces, merges=merges)


def _digest(resource: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256 of a resource as a version's digest, in base64.

    It needs no key: it is in items of the encrypted records table only, and in no key, index or log.
    """
    meta = resource.get("meta")
    own = meta if isinstance(meta, dict) else {}
    kept = {name: value for name, value in own.items() if name not in {"versionId", "lastUpdated"}}
    content = {name: value for name, value in resource.items() if name not in {"resourceType", "id", "meta"}}
    # The order of members has no meaning in JSON. A number keeps its text, and differs from the same text as a string.
    text = json.dumps([kept, content], sort_keys=True, default=_number)
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _number(value: object) -> object:
    if not isinstance(value, Number):
        raise TypeError(type(value).__name__)
    return ["number", value.text]


@dataclass(frozen=True)
class Marker:
    """A conflict to resolve.

    Attributes:
        at: the stamp that orders open conflicts.
        partition: the partition of the index `by-update` that lists the marker; None once the work is done.
        facts: further attributes of the item.
        members: the versions in conflict.
    """

    key: RecordKey
    sk: str
    at: Stamp
    partition: str | None
    facts: Mapping[str, str] = field(default_factory=dict)
    members: Sequence[str] = ()


@dataclass(frozen=True)
class Token:
    """An index token: the name of the index, and the blinded value."""

    parameter: str
    blind: str


def head_sk(region: str) -> str:
    """Return the sort key of a record's head in a region."""
    return f"{HEAD_PREFIX}{region}"


def update_partition(tenant: str, type: str, shard: int, region: str) -> str:
    """Return one of the partitions of `by-update` that list a region's heads of a tenant's records of a type."""
    return f"{tenant}#{type}#{shard}#{region}"


def token_partition(tenant: str, type: str, token: Token) -> str:
    """Return the partition that lists the ids of the records with a token."""
    return f"{tenant}#{type}?{token.parameter}#{token.blind}"


def version_item(version: Version) -> dict[str, Any]:
    """Return the item of a version, which is never changed."""
    item = {
        **key(version.key.partition, f"{VERSION_PREFIX}{version.stamp}"),
        **_content(version),
        **_followed(version),
    }
    if version.fingerprint is not None:
        item["fingerprint"] = {"S": version.fingerprint}
    return item


def lineage_item(version: Version) -> dict[str, Any]:
    """Return the lineage item of a version: what it follows and its digest. It is never changed."""
    return {
        **key(version.key.partition, f"{LINEAGE_PREFIX}{version.stamp}"),
        "version": {"S": str(version.stamp)},
        "digest": {"S": version.digest},
        **_followed(version),
    }


def head_item(version: Version, region: str) -> dict[str, Any]:
    """Return the head of a region: writes there are conditional on it, and lists of the region consist of heads."""
    record = version.key
    shard = crc32(record.id.encode()) % UPDATE_SHARDS
    return {
        **key(record.partition, head_sk(region)),
        **_content(version),
        "update_shard": {"S": update_partition(record.tenant, record.type, shard, region)},
        "updated": {"S": str(version.stamp)},
    }


def marker_item(marker: Marker) -> dict[str, Any]:
    """Return the item of a marker."""
    item: dict[str, Any] = {**key(marker.key.partition, marker.sk), "version": {"S": str(marker.at)}}
    item |= {name: {"S": text} for name, text in marker.facts.items()}
    if marker.members:
        item["members"] = {"L": [{"S": text} for text in marker.members]}
    if marker.partition is not None:
        item |= {"update_shard": {"S": marker.partition}, "updated": {"S": str(marker.at)}}
    return item


def token_item(version: Version, token: Token) -> dict[str, Any]:
    """Return the index item of a record for a token."""
    return dict(key(token_partition(version.key.tenant, version.key.type, token), version.key.id))


def version_of_item(item: Item) -> Version:
    """Return the version in a version item or a head. Raises StorageFault when the item has another form."""
    try:
        tenant, type, id = item["pk"]["S"].split("#")
        return Version(
            RecordKey(tenant, type, id),
            _stamp(item["version"]["S"]),
            Method(item["method"]["S"]),
            None if "deleted" in item else item["resource"]["S"],
            item["digest"]["S"],
            replaces=_stamp(item["replaces"]["S"]) if "replaces" in item else None,
            merges=tuple(_stamp(entry["S"]) for entry in item["merges"]["L"]) if "merges" in item else (),
            fingerprint=item["fingerprint"]["S"] if "fingerprint" in item else None,
        )
    except (KeyError, ValueError):
        raise StorageFault(operation="Read", code="UnreadableVersion") from None


def _content(version: Version) -> dict[str, Any]:
    content = {"deleted": {"BOOL": True}} if version.resource is None else {"resource": {"S": version.resource}}
    facts = {"version": str(version.stamp), "method": version.method.value, "digest": version.digest}
    return {**{name: {"S": text} for name, text in facts.items()}, **content}


def _followed(version: Version) -> dict[str, Any]:
    """Return the attributes that name the versions which a version follows.

    They distinguish concurrent versions from successors, and cannot be derived later.
    """
    found: dict[str, Any] = {}
    if version.replaces is not None:
        found["replaces"] = {"S": str(version.replaces)}
    if version.merges:
        found["merges"] = {"L": [{"S": str(stamp)} for stamp in version.merges]}
    return found


def _stamp(text: str) -> Stamp:
    stamp = Stamp.parse(text)
    if stamp is None:
        raise ValueError
    return stamp

"""Records, their versions, and the items of the records table.

| item | `pk` | `sk` | attributes beside `version` and `resource` or `deleted` |
|---|---|---|---|
| version | `<tenant>#<type>#<id>` | `v#<stamp>` | `method`, `replaces`, `merges`, `fingerprint` |
| head | the same | `head#<region>` | `method`, and for the index `by-update`: `update_shard`, `updated` |
| marker | the same | `c#<stamp>`, `pending` | the index's two attributes while it is open |
| index | `<tenant>#<type>?<parameter>#<blind>` | `<id>` | none |

A head is written and read in its own region only, so that replication cannot move it backwards. `update_shard` is
`<tenant>#<type>#<number>#<region>`: each region lists its own heads.

CloudTrail records keys, so they hold no patient data: values in keys of index items are blinded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from zlib import crc32

from patient_api.clock import Stamp
from patient_api.contract.keys import HEAD_PREFIX, UPDATE_SHARDS, VERSION_PREFIX
from patient_api.errors import StorageFault
from patient_api.fhir.codec import JsonValue, dump

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
    """One tenant's record: `type` is its FHIR resource type."""

    tenant: str
    type: str
    id: str

    @property
    def reference(self) -> str:
        """As FHIR refers to it: `Patient/<id>`."""
        return f"{self.type}/{self.id}"


@dataclass(frozen=True)
class Version:
    """One version of a record.

    Attributes:
        resource: the whole resource as compact JSON, id and meta included; None when the version marks a deletion.
        replaces: the version that its writer replaced; None for a first version. Versions that replace the same one are
            siblings, until a later version also `merges` them.
        fingerprint: of the idempotent request that created it.
    """

    key: RecordKey
    stamp: Stamp
    method: Method
    resource: str | None
    replaces: Stamp | None = None
    merges: tuple[Stamp, ...] = ()
    fingerprint: str | None = None


def stamped(resource: dict[str, JsonValue], *, key: RecordKey, stamp: Stamp) -> dict[str, JsonValue]:
    """`resource` as that version of the record: id and meta are the server's, all else stays as it is."""
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
    """A version that holds `resource`."""
    text = dump(stamped(resource, key=key, stamp=stamp))
    return Version(key, stamp, method, text, replaces=replaces, merges=merges, fingerprint=fingerprint)


Item = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Marker:
    """Something to be done about a record: listed on `shelf` while it is open, on none once it is done."""

    key: RecordKey
    sk: str
    at: Stamp
    shelf: str | None
    facts: Mapping[str, str] = field(default_factory=dict)
    members: Sequence[str] = ()


@dataclass(frozen=True)
class Token:
    """An index token: a parameter, and the blinded value."""

    parameter: str
    blind: str


def pk(key: RecordKey) -> str:
    """The partition of a record."""
    return f"{key.tenant}#{key.type}#{key.id}"


def head_sk(region: str) -> str:
    """The sort key of a record's head in a region."""
    return f"{HEAD_PREFIX}{region}"


def shard_of(key: RecordKey, region: str) -> str:
    """The partition of the index `by-update` that lists the record's head of a region."""
    return shard(key.tenant, key.type, crc32(key.id.encode()) % UPDATE_SHARDS, region)


def shard(tenant: str, type: str, number: int, region: str) -> str:
    """One of the partitions of the index `by-update` that list a region's heads of a tenant's records of a type."""
    return f"{tenant}#{type}#{number}#{region}"


def token_pk(tenant: str, type: str, token: Token) -> str:
    """The partition that lists the ids of the records a token finds."""
    return f"{tenant}#{type}?{token.parameter}#{token.blind}"


def version_item(version: Version) -> dict[str, Any]:
    """The item that is never changed."""
    item = {"pk": {"S": pk(version.key)}, "sk": {"S": f"{VERSION_PREFIX}{version.stamp}"}, **_content(version)}
    # Which version the writer knew tells a concurrent sibling from a successor, and cannot be found out later.
    if version.replaces is not None:
        item["replaces"] = {"S": str(version.replaces)}
    if version.merges:
        item["merges"] = {"L": [{"S": str(stamp)} for stamp in version.merges]}
    if version.fingerprint is not None:
        item["fingerprint"] = {"S": version.fingerprint}
    return item


def head_item(version: Version, region: str) -> dict[str, Any]:
    """Return the head of a region: writes there are conditional on it, and lists of the region consist of heads."""
    return {
        "pk": {"S": pk(version.key)},
        "sk": {"S": head_sk(region)},
        **_content(version),
        "update_shard": {"S": shard_of(version.key, region)},
        "updated": {"S": str(version.stamp)},
    }


def marker_item(marker: Marker) -> dict[str, Any]:
    """The item of a marker."""
    item: dict[str, Any] = {"pk": {"S": pk(marker.key)}, "sk": {"S": marker.sk}, "version": {"S": str(marker.at)}}
    item |= {name: {"S": text} for name, text in marker.facts.items()}
    if marker.members:
        item["members"] = {"L": [{"S": text} for text in marker.members]}
    if marker.shelf is not None:
        item |= {"update_shard": {"S": marker.shelf}, "updated": {"S": str(marker.at)}}
    return item


def token_item(version: Version, token: Token) -> dict[str, Any]:
    """The item by which a search finds the record."""
    return {"pk": {"S": token_pk(version.key.tenant, version.key.type, token)}, "sk": {"S": version.key.id}}


def version_in(item: Item) -> Version:
    """Return the version in a version item or a head. Raises StorageFault when the item has another form."""
    try:
        tenant, kind, identifier = item["pk"]["S"].split("#")
        return Version(
            RecordKey(tenant, kind, identifier),
            _stamp(item["version"]["S"]),
            Method(item["method"]["S"]),
            None if "deleted" in item else item["resource"]["S"],
            replaces=_stamp(item["replaces"]["S"]) if "replaces" in item else None,
            merges=tuple(_stamp(entry["S"]) for entry in item["merges"]["L"]) if "merges" in item else (),
            fingerprint=item["fingerprint"]["S"] if "fingerprint" in item else None,
        )
    except (KeyError, ValueError):
        raise StorageFault(operation="Read", code="UnreadableVersion") from None


def _content(version: Version) -> dict[str, Any]:
    held: dict[str, Any] = {"deleted": {"BOOL": True}}
    if version.resource is not None:
        held = {"resource": {"S": version.resource}}
    return {"version": {"S": str(version.stamp)}, "method": {"S": version.method.value}, **held}


def _stamp(text: str) -> Stamp:
    stamp = Stamp.parse(text)
    if stamp is None:
        raise ValueError
    return stamp

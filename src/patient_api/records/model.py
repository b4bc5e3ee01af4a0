"""Records and their versions."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from patient_api.clock import Stamp
from patient_api.fhir.codec import JsonValue, dump

PATIENT: Final = "Patient"
DOCUMENT: Final = "DocumentReference"

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def is_id(text: str) -> bool:
    """Whether FHIR allows `text` as an id (https://hl7.org/fhir/R4/datatypes.html#id)."""
    return _ID.fullmatch(text) is not None


class Method(StrEnum):
    """What made a version, as a history shows it (http://hl7.org/fhir/R4/valueset-http-verb.html)."""

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

    `resource` is the whole resource as compact JSON, id and meta included; None when the version says that the record
    was deleted. `replaces` is the version its writer knew, None for a first one: two versions of a record that replace
    the same one are siblings, until a later one also `merges` them. `fingerprint` is that of the request that may be
    repeated to create it.
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

"""The Patient resource, as far as the API reads and writes it itself."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from patient_api.clock import Stamp
from patient_api.codec import JsonValue, dump, parse
from patient_api.errors import Malformed, Unprocessable

TYPE: Final = "Patient"

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def is_id(text: str) -> bool:
    """Whether FHIR allows `text` as an id (https://hl7.org/fhir/R4/datatypes.html#id)."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True)
class RecordKey:
    """One tenant's record."""

    tenant: str
    id: str


@dataclass(frozen=True)
class Version:
    """One version of a record: `resource` is the whole resource as compact JSON, id and meta included."""

    key: RecordKey
    stamp: Stamp
    resource: str


def read_resource(payload: bytes) -> dict[str, JsonValue]:
    """The Patient in `payload`. Raises Malformed, or Unprocessable when it is another resource."""
    resource = parse(payload)
    if not isinstance(resource, dict):
        raise Malformed("The body is not a JSON object.")
    if resource.get("resourceType") != TYPE:
        raise Unprocessable(f"Patient.resourceType: this route takes {TYPE}.")
    if not isinstance(resource.get("meta", {}), dict):
        raise Unprocessable("Patient.meta: must be an object.")
    return resource


def version_of(resource: dict[str, JsonValue], *, key: RecordKey, stamp: Stamp) -> Version:
    """`resource` as the version `stamp` of the record: id and meta are the server's, all else stays as it is."""
    sent = resource.get("meta")
    meta: dict[str, JsonValue] = {
        **(sent if isinstance(sent, dict) else {}),
        "versionId": str(stamp),
        "lastUpdated": instant(stamp.time),
    }
    rest = {name: value for name, value in resource.items() if name not in {"resourceType", "id", "meta"}}
    return Version(key, stamp, dump({"resourceType": TYPE, "id": key.id, "meta": meta, **rest}))


def instant(time: datetime) -> str:
    """A FHIR instant in UTC, with milliseconds."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

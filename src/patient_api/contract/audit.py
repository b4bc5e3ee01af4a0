"""Audit events and their items in the audit table.

No key is hot at the limit of the API's own requests (docs/capacity.md): the items of a tenant and hour are spread over
`SHARDS` partitions, and the index `by-record` contains only the events about a patient. An event about no patient, such
as a search without results, would otherwise share one key of the index with all others of its tenant.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final
from zlib import crc32

from patient_api.contract.keys import PATIENT, instant

SHARDS: Final = 32
"""Partitions for each tenant and hour."""


class Action(StrEnum):
    """AuditEvent.action of FHIR (http://hl7.org/fhir/R4/valueset-audit-event-action.html)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(StrEnum):
    """The outcome of an access; the HTTP status is more specific."""

    SUCCESS = "success"
    REFUSED = "refused"
    FAILURE = "failure"


@dataclass(frozen=True)
class AuditEvent:
    """One access to a record: by whom, from where, when, and with which outcome.

    It contains the id of the record, and none of its values.

    Attributes:
        at: the time of the access, in UTC; for a request, when the gateway received it.
        record: `Patient/<id>`, or the type alone when the request names no valid id.
        interaction: the FHIR code of the interaction, such as `vread`.
        entity: the resource that was accessed, such as `DocumentReference/<id>`, where it is not the patient itself.
        version: the version that was written.
        amends: the id of an earlier event that this one corrects. A read is recorded before its result is known, and
            amended when it finds nothing or fails.
        reason: the operator's reason for a change of the platform itself, such as draining a region.
    """

    id: str
    at: datetime
    tenant: str
    subject: str
    action: Action
    interaction: str
    record: str
    outcome: Outcome
    status: int
    region: str
    source_ip: str
    request_id: str
    entity: str | None = None
    version: str | None = None
    amends: str | None = None
    reason: str | None = None


Item = dict[str, dict[str, str]]
_PATIENT_PREFIX: Final = f"{PATIENT}/"
# Attributes with other names or forms than the fields of an event.
_CONVERTED: Final = frozenset({"id", "at", "record", "status"})
_TEXTS: Final = tuple(field.name for field in fields(AuditEvent) if field.name not in _CONVERTED)
_OPTIONAL: Final = tuple(field.name for field in fields(AuditEvent) if field.default is None)
_REQUIRED: Final = tuple(name for name in _TEXTS if name not in (*_OPTIONAL, "action", "outcome"))


def hour_partition(tenant: str, hour: str, shard: int) -> str:
    """Return the partition of a tenant's events of one hour, such as `2027-01-15T08`, in one shard."""
    return f"{tenant}#{hour}#{shard:02d}"


def patient_partition(tenant: str, id: str) -> str:
    """Return the partition of the index `by-record` that lists the events about a patient."""
    return f"{tenant}#{_PATIENT_PREFIX}{id}"


def item_of(event: AuditEvent) -> Item:
    """Return the item of an event."""
    at = instant(event.at)
    about_patient = event.record.startswith(_PATIENT_PREFIX)
    texts = {
        "pk": hour_partition(event.tenant, at[:13], crc32(event.id.encode()) % SHARDS),
        "sk": f"{at}#{event.id}",
        # The key of the index, which does not contain items without it.
        "record": f"{event.tenant}#{event.record}" if about_patient else None,
        "target": None if about_patient else event.record,
        "at": at,
        "event": event.id,
        **{name: getattr(event, name) for name in _TEXTS},
    }
    item = {name: {"S": str(text)} for name, text in texts.items() if text is not None}
    return {**item, "status": {"N": str(int(event.status))}}


def event_of(item: Mapping[str, Mapping[str, str]]) -> AuditEvent:
    """Return the event of an item. Raises ValueError when the item does not have the form of `item_of`."""
    text = {name: value["S"] for name, value in item.items() if "S" in value}
    try:
        event = AuditEvent(
            id=text["event"],
            at=datetime.fromisoformat(text["at"]),
            action=Action(text["action"]),
            record=text["record"].partition("#")[2] if "record" in text else text["target"],
            outcome=Outcome(text["outcome"]),
            status=HTTPStatus(int(item["status"]["N"])),
            **{name: text[name] for name in _REQUIRED},
        )
    except KeyError as error:
        raise ValueError(f"the item has no {error}") from None
    optional: dict[str, Any] = {name: text.get(name) for name in _OPTIONAL}
    return replace(event, **optional)

"""What the audit trail says of one access."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Action(StrEnum):
    """As in FHIR's AuditEvent.action (http://hl7.org/fhir/R4/valueset-audit-event-action.html)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(StrEnum):
    """How the access ended; the HTTP status beside it says more."""

    SUCCESS = "success"
    REFUSED = "refused"
    FAILURE = "failure"


@dataclass(frozen=True)
class AuditEvent:
    """Who did what to which record, from where, when, and how it ended. It holds no patient data.

    `record` is `Patient/<id>`, or a type alone when there is no legal id; where what was accessed belongs to a patient
    but is not the Patient itself, `entity` names it, such as `DocumentReference/<id>`. `interaction` is FHIR's code of
    it, such as `vread`. `version` is the version written. A read is on record before its result is known; when it then
    finds nothing or fails, a second event `amends` the first by its id.
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


class Trail(Protocol):
    """Where audit events are kept for good."""

    def put(self, event: AuditEvent) -> None:
        """Raises StorageFault: whoever calls must then not hand out what the event was to document."""

    def put_all(self, events: Sequence[AuditEvent]) -> None:
        """All of at most 100 events or none. Raises StorageFault, as `put`."""

"""Convert audit events to FHIR's AuditEvent (https://hl7.org/fhir/R4/auditevent.html)."""

from collections.abc import Mapping
from typing import Final

from patient_api.contract.audit import AuditEvent, Outcome
from patient_api.contract.keys import AUDIT_EVENT, PATIENT, instant
from patient_api.fhir.codec import JsonValue, dump

# 4 corresponds to a status of 4xx and 8 to one of 5xx. 12 means that the system is unavailable, and then it writes no
# event (http://hl7.org/fhir/R4/valueset-audit-event-outcome.html).
OUTCOMES: Final[Mapping[Outcome, str]] = {Outcome.SUCCESS: "0", Outcome.REFUSED: "4", Outcome.FAILURE: "8"}

_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem"
_REST: Final[JsonValue] = {
    "system": f"{_TERMINOLOGY}/audit-event-type",
    "code": "rest",
    "display": "RESTful Operation",
}
_SERVER: Final[JsonValue] = {
    "system": f"{_TERMINOLOGY}/security-source-type",
    "code": "4",
    "display": "Application Server",
}
_IP_ADDRESS: Final = "2"


def resource_of(event: AuditEvent) -> str:
    """Return the event as JSON. Its first entity has the request id, the HTTP status and the amended event."""
    agent: dict[str, JsonValue] = {
        "who": {"identifier": {"value": event.subject}},
        "altId": event.subject,
        "requestor": True,
    }
    if event.source_ip:
        agent["network"] = {"address": event.source_ip, "type": _IP_ADDRESS}
    return dump(
        {
            "resourceType": AUDIT_EVENT,
            "id": event.id,
            "type": _REST,
            "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": event.interaction}],
            "action": event.action.value,
            "recorded": instant(event.at),
            "outcome": OUTCOMES[event.outcome],
            "outcomeDesc": f"HTTP {int(event.status)}",
            "agent": [agent],
            "source": {
                "site": event.region,
                "observer": {"display": f"healthcare-dr patient API in {event.region}"},
                "type": [_SERVER],
            },
            "entity": _entities(event),
        }
    )


def _entities(event: AuditEvent) -> list[JsonValue]:
    """Return the patient or type that was accessed, and the document if it was a document."""
    facts = {"request": event.request_id, "status": str(int(event.status)), "amends": event.amends}
    details: list[JsonValue] = [{"type": name, "valueString": text} for name, text in facts.items() if text]
    version = f"/_history/{event.version}" if event.version else ""
    if not event.entity:
        return [{**_entity(f"{event.record}{version}"), "detail": details}]
    return [{**_entity(event.record), "detail": details}, _entity(f"{event.entity}{version}")]


def _entity(reference: str) -> dict[str, JsonValue]:
    type, _, id = reference.partition("/")
    entity: dict[str, JsonValue] = {"type": {"system": "http://hl7.org/fhir/resource-types", "code": type}}
    if id:
        entity["what"] = {"reference": reference}
        # http://terminology.hl7.org/CodeSystem/object-role
        code, display = ("1", "Patient") if type == PATIENT else ("4", "Domain Resource")
        entity["role"] = {"system": f"{_TERMINOLOGY}/object-role", "code": code, "display": display}
    return entity

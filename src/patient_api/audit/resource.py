"""Audit events as FHIR's AuditEvent (https://hl7.org/fhir/R4/auditevent.html)."""

from collections.abc import Mapping
from typing import Final

from patient_api.contract.audit import AuditEvent, Outcome
from patient_api.contract.keys import PATIENT, instant
from patient_api.fhir.codec import JsonValue, dump

# FHIR likens 4 to an answer of the 400s and 8 to one of the 500s; 12, that the system is now unavailable, is what a
# system in that state cannot write down (http://hl7.org/fhir/R4/valueset-audit-event-outcome.html).
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
    """The event as JSON. What it amends, the request and the HTTP status are details of its first entity."""
    agent: dict[str, JsonValue] = {
        "who": {"identifier": {"value": event.subject}},
        "altId": event.subject,
        "requestor": True,
    }
    if event.source_ip:
        agent["network"] = {"address": event.source_ip, "type": _IP_ADDRESS}
    return dump(
        {
            "resourceType": "AuditEvent",
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
    """The patient's record or the type that was accessed, and the document where that is what was accessed."""
    facts = {"request": event.request_id, "status": str(int(event.status)), "amends": event.amends}
    details: list[JsonValue] = [{"type": name, "valueString": text} for name, text in facts.items() if text]
    about = event.record if event.entity or not event.version else f"{event.record}/_history/{event.version}"
    entities: list[JsonValue] = [{**_entity(about), "detail": details}]
    if event.entity:
        version = f"/_history/{event.version}" if event.version else ""
        entities.append(_entity(f"{event.entity}{version}"))
    return entities


def _entity(reference: str) -> dict[str, JsonValue]:
    kind, _, name = reference.partition("/")
    described: dict[str, JsonValue] = {"type": {"system": "http://hl7.org/fhir/resource-types", "code": kind}}
    if name:
        described["what"] = {"reference": reference}
        # A patient, or any other resource (http://terminology.hl7.org/CodeSystem/object-role).
        role = ("1", "Patient") if kind == PATIENT else ("4", "Domain Resource")
        described["role"] = {"system": f"{_TERMINOLOGY}/object-role", "code": role[0], "display": role[1]}
    return described

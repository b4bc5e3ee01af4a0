"""A Patient and a DocumentReference with every element of their profile, and helpers that change them."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from patient_api.errors import Unprocessable
from patient_api.fhir.codec import JsonValue, dump, parse
from patient_api.fhir.profile import validate
from patient_api.fhir.profile.document import SHA256

REMOVED = object()

_PERIOD = {"start": "2001-05-06", "end": "2021-12"}
_CONCEPT = {
    "coding": [
        {"system": "http://codes.example", "version": "1", "code": "M", "display": "Married", "userSelected": True}
    ],
    "text": "Married",
}
_REASON = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}
_IDENTIFIER = {
    "use": "official",
    "type": _CONCEPT,
    "system": "http://hospital.example/mrn",
    "value": "0815",
    "period": _PERIOD,
    "assigner": {"reference": "Organization/hospital", "type": "Organization", "display": "Hospital"},
}
_NAME = {
    "use": "official",
    "text": "Dr. Ada Lovelace-Example",
    "family": "Lovelace-Example",
    "given": ["Ada", None],
    "_given": [None, _REASON],
    "prefix": ["Dr."],
    "suffix": ["FRS"],
    "period": _PERIOD,
}
_TELECOM = {"system": "phone", "value": "+44 20 7946 0000", "use": "home", "rank": 1, "period": _PERIOD}
_ADDRESS = {
    "use": "home",
    "type": "both",
    "text": "1 Example Street, Example",
    "line": ["1 Example Street"],
    "city": "Example",
    "district": "Example",
    "state": "EX",
    "postalCode": "00000",
    "country": "GB",
    "period": _PERIOD,
}
_RESOURCE = {
    "id": "example",
    "meta": {
        "versionId": "1732233600000-0000-us-east-1",
        "lastUpdated": "2024-02-29T23:59:60.000Z",
        "source": "urn:example:source",
        "profile": ["http://hl7.org/fhir/StructureDefinition/Patient"],
        "security": [{"system": "http://codes.example", "code": "R"}],
        "tag": [{"code": "test"}],
    },
    "language": "en-GB",
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>An <b>example</b></p></div>'},
    "extension": [
        {
            "id": "race",
            "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
            "extension": [
                {"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3"}},
                {"url": "text", "valueString": "White"},
            ],
        },
    ],
}
_PATIENT = {
    "resourceType": "Patient",
    **_RESOURCE,
    "identifier": [_IDENTIFIER],
    "active": True,
    "name": [_NAME],
    "telecom": [_TELECOM],
    "gender": "female",
    "birthDate": "1815-12-10",
    "_birthDate": {
        "id": "b",
        "extension": [
            {
                "url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime",
                "valueDateTime": "1815-12-10T14:35:45-05:00",
            }
        ],
    },
    "deceasedDateTime": "1852-11-27",
    "address": [_ADDRESS],
    "maritalStatus": _CONCEPT,
    "multipleBirthInteger": 2,
    "photo": [
        {
            "contentType": "image/gif",
            "language": "en",
            "data": "R0lGODlhAQABAAAAACw=",
            "url": "http://hospital.example/photo",
            "size": 14,
            "hash": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            "title": "Portrait",
            "creation": "1840",
        }
    ],
    "contact": [
        {
            "relationship": [_CONCEPT],
            "name": _NAME,
            "telecom": [_TELECOM],
            "address": _ADDRESS,
            "gender": "male",
            "organization": {"reference": "Organization/hospital"},
            "period": _PERIOD,
        }
    ],
    "communication": [{"language": _CONCEPT, "preferred": True}],
    "generalPractitioner": [
        {"reference": "Practitioner/example", "identifier": {"value": "1"}},
        {"reference": "https://other.example/fhir/Organization/1"},
    ],
    "managingOrganization": {"reference": "Organization/hospital/_history/3"},
    "link": [{"other": {"reference": "Patient/other"}, "type": "seealso"}],
}
_DOCUMENT = {
    "resourceType": "DocumentReference",
    **_RESOURCE,
    "masterIdentifier": _IDENTIFIER,
    "identifier": [_IDENTIFIER],
    "status": "current",
    "docStatus": "preliminary",
    "type": _CONCEPT,
    "category": [_CONCEPT],
    "subject": {"reference": "Patient/example", "type": "Patient", "identifier": {"value": "1"}, "display": "Ada"},
    "date": "2024-02-29T12:00:00+01:00",
    "author": [{"reference": "Practitioner/example"}, {"display": "A device"}],
    "authenticator": {"reference": "Organization/hospital"},
    "custodian": {"reference": "Organization/hospital"},
    "relatesTo": [{"code": "replaces", "target": {"reference": "DocumentReference/old"}}],
    "description": "A letter\nof two lines",
    "securityLabel": [_CONCEPT],
    "content": [
        {
            "attachment": {
                "extension": [
                    {
                        "url": SHA256,
                        "valueBase64Binary": base64.b64encode(hashlib.sha256(b"letter").digest()).decode(),
                    }
                ],
                "contentType": "text/plain; charset=utf-8",
                "language": "en",
                "size": 6,
                "hash": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
                "title": "Letter",
                "creation": "2024-02-29T12:00:00.5Z",
            },
            "format": {"system": "urn:oid:1.3.6.1.4.1.19376.1.2.3", "code": "urn:ihe:iti:xds:2017:mimeTypeSufficient"},
        }
    ],
    "context": {
        "encounter": [{"reference": "Encounter/1"}],
        "event": [_CONCEPT],
        "period": _PERIOD,
        "facilityType": _CONCEPT,
        "practiceSetting": _CONCEPT,
        "sourcePatientInfo": {"reference": "Patient/example"},
        "related": [{"reference": "Observation/1"}],
    },
}


def read(value: object) -> JsonValue:
    """Return `value` as the API parses it from a body."""
    return parse(json.dumps(value).encode())


def resource_of(value: object) -> dict[str, JsonValue]:
    """Return a resource as the API parses it from a body."""
    resource = read(value)
    assert isinstance(resource, dict)
    return resource


def plain(value: JsonValue) -> Any:
    """Return `value` as the json module parses it."""
    return json.loads(dump(value))


def example(kind: str) -> dict[str, JsonValue]:
    """Return a resource of this type with every element of the profile."""
    return resource_of({"Patient": _PATIENT, "DocumentReference": _DOCUMENT}[kind])


def changed(kind: str, pointer: str, value: object) -> dict[str, JsonValue]:
    """Return the example with `value` at a JSON Pointer (without its first slash), or without it for REMOVED."""
    resource = example(kind)
    *way, last = pointer.split("/")
    target: Any = resource
    for step in way:
        target = target[int(step)] if isinstance(target, list) else target[step]
    key: Any = int(last) if isinstance(target, list) else last
    if value is REMOVED:
        del target[key]
    elif isinstance(target, list) and key == len(target):
        target.append(read(value))
    else:
        target[key] = read(value)
    return resource


def problem_in(resource: dict[str, JsonValue]) -> tuple[str | None, str]:
    """Return the expression and the diagnostics of the first problem of `resource`, which must be invalid."""
    with pytest.raises(Unprocessable) as raised:
        validate(resource)
    return raised.value.expression, raised.value.diagnostics


def applied(apply: Callable[[dict[str, JsonValue], Any], dict[str, JsonValue]], resource: object, patch: object) -> Any:
    """Return a resource with a patch applied, and check that the original stays unchanged."""
    before = resource_of(resource)
    text = dump(before)
    try:
        return plain(apply(before, read(patch)))
    finally:
        assert dump(before) == text

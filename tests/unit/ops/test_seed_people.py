"""The patients and documents of `hdr seed` are fictitious, valid for the API, and always the same."""

import base64
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from typing import Any

import pytest

from healthcare_dr.ops.lifecycle import PATIENT
from healthcare_dr.ops.seed import people, sample_documents
from healthcare_dr.ops.seed.people import LOCALES
from patient_api.errors import Unprocessable
from patient_api.fhir.codec import parse
from patient_api.fhir.profile import validate
from patient_api.search.parameters import fold

MANY = 600
FICTIONAL_PHONE = re.compile(r"\+1 \d{3} 555 01\d\d|\+44 1632 960\d{3}")


def check(resource: dict[str, Any]) -> None:
    """Validate a resource as the API does."""
    value = parse(people.encoded(resource))
    assert isinstance(value, dict)
    validate(value)


@pytest.fixture(scope="module")
def patients() -> list[dict[str, Any]]:
    return [people.patient(7, index) for index in range(MANY)]


def test_every_patient_is_valid(patients: list[dict[str, Any]]) -> None:
    for patient in patients:
        check(patient)
    check(dict(PATIENT))
    with pytest.raises(Unprocessable):
        check({**patients[0], "birthDate": "1985-02-29"})


def test_same_seed_gives_the_same_bytes_and_another_seed_others(patients: list[dict[str, Any]]) -> None:
    assert people.encoded(people.patient(7, 3)) == people.encoded(patients[3])
    # A repeated seed must send what an older installation sent, also with another release of Faker.
    assert hashlib.sha256(people.encoded(people.patient(1, 0))).hexdigest()[:12] == "569b14d19b6e"
    assert people.patient(8, 3)["name"] != patients[3]["name"]
    assert len({people.encoded(patient) for patient in patients}) == MANY


def test_people_are_recognizably_fictitious(patients: list[dict[str, Any]]) -> None:
    for patient in patients:
        assert patient["meta"]["security"][0]["code"] == "HTEST"
        assert {identifier["system"] for identifier in patient["identifier"]} == {"urn:healthcare-dr:fictitious"}
        assert patient["address"][0]["country"] == "Fictivia"
        for contact in patient["telecom"]:
            if contact["system"] == "phone":
                assert FICTIONAL_PHONE.fullmatch(contact["value"])
            else:
                assert contact["value"].endswith("@example.org")


def test_patients_are_varied(patients: list[dict[str, Any]]) -> None:
    assert {patient["gender"] for patient in patients} == {"female", "male", "other", "unknown"}
    assert sum(len(patient["name"]) > 1 for patient in patients) > MANY / 10
    assert {patient["communication"][0]["language"]["coding"][0]["code"] for patient in patients} == {
        language for language, *_ in LOCALES.values()
    }
    folded = [given for patient in patients for given in patient["name"][0]["given"] if fold(given) != given.casefold()]
    assert len(folded) > MANY / 5
    assert any(" " in patient["name"][0]["family"] for patient in patients)
    dead = [patient for patient in patients if "deceasedDateTime" in patient]
    assert 0 < len(dead) < MANY / 10
    for patient in dead:
        died = datetime.fromisoformat(patient["deceasedDateTime"]).date()
        assert date.fromisoformat(patient["birthDate"]) <= died <= people.TODAY
    assert all(date(1923, 1, 1) < date.fromisoformat(patient["birthDate"]) <= people.TODAY for patient in patients)


def test_every_document_is_valid_and_matches_its_declaration() -> None:
    kinds = set()
    for index in range(80):
        document = sample_documents.document(7, index, 0)
        reference = document.of("a-patient")
        check(reference)
        attachment = reference["content"][0]["attachment"]
        kinds.add(attachment["contentType"])
        assert attachment["size"] == len(document.content)
        assert (
            base64.b64decode(attachment["extension"][0]["valueBase64Binary"])
            == hashlib.sha256(document.content).digest()
        )
        assert reference["subject"] == {"reference": "Patient/a-patient"}
        assert document == sample_documents.document(7, index, 0)
    assert kinds == {"text/plain", "application/pdf"}
    assert sample_documents.document(7, 0, 0) != sample_documents.document(7, 0, 1)


def test_pdf_offsets_are_correct() -> None:
    content = sample_documents.pdf(["Title (fictitious)", "", "A line."])
    assert content.startswith(b"%PDF-1.4\n")
    assert content.endswith(b"%%EOF\n")
    start = int(content.split(b"startxref\n")[1].split()[0])
    assert content[start:].startswith(b"xref\n0 6\n")
    entries = content[start:].split(b"\n")[3:8]
    for number, entry in enumerate(entries, start=1):
        assert len(entry) == 19  # and the end of its line makes 20
        assert content[int(entry[:10]) :].startswith(b"%d 0 obj\n" % number)
    length, stream = content.split(b"/Length ")[1].split(b" >>\nstream\n")
    assert len(stream.split(b"\nendstream")[0]) == int(length)
    assert b"(Title [fictitious]) '" in content


def test_every_creation_has_a_unique_key() -> None:
    keys = [people.key_of(seed, index) for seed in (1, 11) for index in range(12)]
    keys += [
        sample_documents.key_of(seed, index, number) for seed in (1, 11) for index in range(12) for number in range(12)
    ]
    assert len(set(keys)) == len(keys)
    assert people.key_of(1, 0) == "hdr-seed-1-patient-0"


def test_concurrent_generation_gives_the_same_patients(patients: list[dict[str, Any]]) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda index: people.patient(7, index), range(MANY))) == patients

"""The profile of DocumentReference."""

import base64

import pytest

from patient_api.fhir.profile import validate
from patient_api.fhir.profile.document import LARGEST_DOCUMENT, SHA256, SIZE, DeclaredContent, declared_content
from unit.patient_api.fhir.examples import REMOVED, changed, example, problem_in

DIGEST = base64.b64encode(bytes(32)).decode()
ATTACHMENT = "DocumentReference.content[0].attachment"
UNKNOWN = "http://example.org/modifier"
MODIFIER = [{"url": UNKNOWN, "valueBoolean": True}]


def sha256(value: object) -> dict[str, object]:
    return {"url": SHA256, "valueBase64Binary": value}


def of_size(value: object) -> dict[str, object]:
    """Return an attachment that declares its size in an extension."""
    sizes = value if isinstance(value, list) else [value]
    extensions = [sha256(DIGEST), *({"url": SIZE, "valueDecimal": size} for size in sizes)]
    return {"contentType": "image/png", "extension": extensions}


INVALID = [
    ("status", REMOVED, "DocumentReference.status", "is required"),
    ("status", "final", "DocumentReference.status", "must be one of: current, superseded, entered-in-error"),
    ("docStatus", "current", "DocumentReference.docStatus", "must be one of: preliminary, final, amended"),
    ("relatesTo/0/code", "extends", "DocumentReference.relatesTo[0].code", "must be one of: replaces, transforms"),
    ("relatesTo/0/code", REMOVED, "DocumentReference.relatesTo[0].code", "is required"),
    ("relatesTo/0/target", REMOVED, "DocumentReference.relatesTo[0].target", "is required"),
    ("date", "2024-02-29", "DocumentReference.date", "must be an instant"),
    ("date", "2023-02-29T12:00:00Z", "DocumentReference.date", "must be an instant that exists"),
    ("subject", REMOVED, "DocumentReference.subject", "is required"),
    ("subject/reference", REMOVED, "DocumentReference.subject.reference", "is required"),
    ("subject/reference", "Patient/a/_history/1", "DocumentReference.subject.reference", "a patient of this server"),
    ("subject/reference", "Group/a", "DocumentReference.subject.reference", "a patient of this server"),
    ("subject/reference", "https://x.example/Patient/a", "DocumentReference.subject.reference", "of this server"),
    ("author/0/reference", "Group/1", "DocumentReference.author[0].reference", "must refer to a Practitioner"),
    ("authenticator/reference", "Patient/1", "DocumentReference.authenticator.reference", "must refer to"),
    ("custodian/reference", "Patient/1", "DocumentReference.custodian.reference", "must refer to an Organization"),
    ("relatesTo/0/target/reference", "Patient/1", "DocumentReference.relatesTo[0].target.reference", "must refer to"),
    ("context/encounter/0/reference", "Patient/1", "DocumentReference.context.encounter[0].reference", "must refer"),
    ("context/sourcePatientInfo/reference", "Group/1", "DocumentReference.context.sourcePatientInfo.reference", "must"),
    ("context/period/end", "2000", "DocumentReference.context.period", "must not end before it starts"),
    ("content", REMOVED, "DocumentReference.content", "is required"),
    ("content", [], "DocumentReference.content", "must not be empty"),
    ("content/1", {"attachment": {}}, "DocumentReference.content", "must not have more than 1"),
    ("content/0/attachment", REMOVED, ATTACHMENT, "is required"),
    ("content/0/attachment/contentType", REMOVED, f"{ATTACHMENT}.contentType", "is required"),
    ("content/0/attachment/contentType", "text", f"{ATTACHMENT}.contentType", "must be a media type"),
    ("content/0/attachment/contentType", "text/plain\r\nX: y", f"{ATTACHMENT}.contentType", "must be a media type"),
    ("content/0/attachment/contentType", "text/plain\n", f"{ATTACHMENT}.contentType", "must be a media type"),
    ("content/0/attachment/url", "https://x.example", f"{ATTACHMENT}.url", "the server gives the address"),
    ("content/0/attachment/data", "AA==", f"{ATTACHMENT}.data", "send the bytes to the upload address"),
    ("content/0/attachment/hash", "AA==", f"{ATTACHMENT}.hash", "must be a SHA-1"),
    ("content/0/attachment/size", REMOVED, ATTACHMENT, "must have a size"),
    ("content/0/attachment/size", 0, f"{ATTACHMENT}.size", "must be the number of bytes"),
    ("content/0/attachment/size", 2**31, f"{ATTACHMENT}.size", "must be the number of bytes"),
    ("content/0/attachment", of_size(2**31 - 1), ATTACHMENT, "must have a size"),
    ("content/0/attachment", of_size(LARGEST_DOCUMENT + 1), ATTACHMENT, "must have a size"),
    ("content/0/attachment", of_size(3e9 + 0.5), ATTACHMENT, "must have a size"),
    ("content/0/attachment", of_size([3 * 10**9, 3 * 10**9]), ATTACHMENT, "must have a size"),
    ("content/0/attachment", {**of_size(3 * 10**9), "size": 5}, ATTACHMENT, "must have a size"),
    ("content/0/attachment/extension", REMOVED, ATTACHMENT, "must have one extension urn:healthcare-dr:sha256"),
    ("content/0/attachment/extension/1", sha256(DIGEST), ATTACHMENT, "must have one extension"),
    ("content/0/attachment/extension/0", sha256("AA=="), ATTACHMENT, "must have one extension"),
    ("content/0/attachment/extension/0", sha256("A" * 44), ATTACHMENT, "must have one extension"),
    ("content/0/attachment/extension/0", sha256("A" * 42 + "B="), ATTACHMENT, "must have one extension"),
    ("content/0/attachment/extension/0", sha256(f" {DIGEST}"), ATTACHMENT, "must have one extension"),
    ("content/0/attachment/extension/0", {"url": SHA256, "valueString": DIGEST}, ATTACHMENT, "must have one extension"),
    ("content/0/attachment/extension/0", sha256(DIGEST[:-1]), f"{ATTACHMENT}.extension[0].value", "must be base64"),
    ("content/0/format", {}, "DocumentReference.content[0].format", "must not be empty"),
    ("modifierExtension", MODIFIER, "DocumentReference.modifierExtension[0].url", f"must not ignore: {UNKNOWN}"),
    (
        "content/0/modifierExtension",
        MODIFIER,
        "DocumentReference.content[0].modifierExtension[0].url",
        f"must not ignore: {UNKNOWN}",
    ),
    (
        "context/modifierExtension",
        MODIFIER,
        "DocumentReference.context.modifierExtension[0].url",
        f"must not ignore: {UNKNOWN}",
    ),
    ("name", [{"family": "x"}], "DocumentReference", "has an element that the profile does not define"),
]


def test_document_with_every_element_is_valid() -> None:
    validate(example("DocumentReference"))


@pytest.mark.parametrize(("pointer", "value", "expression", "problem"), INVALID)
def test_invalid_element_is_reported_by_its_path(pointer: str, value: object, expression: str, problem: str) -> None:
    found, diagnostics = problem_in(changed("DocumentReference", pointer, value))
    assert found == expression
    assert problem in diagnostics


def test_declared_content_is_read_from_the_attachment() -> None:
    resource = example("DocumentReference")
    assert declared_content(resource) == DeclaredContent(
        content_type="text/plain; charset=utf-8", size=6, sha256="+AEF76tthj/Y/CQ9JpCURp4id+jxLloKn0AeiElPe0s="
    )


@pytest.mark.parametrize("size", [2**31, LARGEST_DOCUMENT])
def test_size_beyond_unsigned_int_is_read_from_the_extension(size: int) -> None:
    resource = changed("DocumentReference", "content/0/attachment", of_size(size))
    validate(resource)
    assert declared_content(resource) == DeclaredContent(content_type="image/png", size=size, sha256=DIGEST)

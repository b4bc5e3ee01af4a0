"""Generate fictitious documents: one page of text or PDF, and the DocumentReference that the API requires for it."""

import base64
import hashlib
import textwrap
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from healthcare_dr.ops.seed.people import FICTITIOUS, MIDNIGHT, TEST_DATA, Resource, chance, instant

SHA256: Final = "urn:healthcare-dr:sha256"
YEARS: Final = 6
WIDTH: Final = 78
# The kinds of documents that clinics write: a file name, and the LOINC code with its display (https://loinc.org).
KINDS: Final = (
    ("discharge", "18842-5", "Discharge summary"),
    ("consultation", "11488-4", "Consult note"),
    ("history", "34117-2", "History and physical note"),
    ("laboratory", "11502-2", "Laboratory report"),
    ("referral", "57133-1", "Referral note"),
)
# Not Faker's: drills generate documents in their event loop, which Faker would stall.
SENTENCES: Final = (
    "Nothing in this document happened.",
    "The patient, who does not exist, reports hiccups since Tuesday.",
    "The examination of the fictitious findings was without result.",
    "Placebo tea was prescribed three times a day, to be taken in a place of choice.",
    "The laboratory values are random numbers within the reference range.",
    "A further appointment in this fictitious clinic was agreed.",
    "The family, which does not exist either, was informed.",
    "Allergies: none known.",
)


@dataclass(frozen=True)
class SampleDocument:
    """The bytes of a document, and the DocumentReference that announces them, without its subject."""

    content: bytes
    reference: Resource

    def of(self, patient_id: str) -> Resource:
        """Return the DocumentReference for a patient."""
        return {**self.reference, "subject": {"reference": f"Patient/{patient_id}"}}


def key_of(seed: int, index: int, number: int) -> str:
    """Return the Idempotency-Key of a document's announcement."""
    return f"hdr-seed-{seed}-patient-{index}-document-{number}"


def document(seed: int, index: int, number: int) -> SampleDocument:
    """Return the document with that number of the patient with that index."""
    dice = chance(seed, index, f"document {number}")
    kind, code, display = dice.choice(KINDS)
    written = instant(MIDNIGHT - timedelta(minutes=dice.randrange(YEARS * 365 * 1440)))
    title = f"{display} (fictitious)"
    lines = [title, "", *textwrap.wrap(" ".join(dice.choices(SENTENCES, k=dice.randrange(6, 40))), WIDTH)]
    as_text = dice.random() < 0.67
    content = "\n".join([*lines, ""]).encode() if as_text else pdf(lines)
    attachment: Resource = {
        "contentType": "text/plain" if as_text else "application/pdf",
        "size": len(content),
        "title": f"{kind}.{'txt' if as_text else 'pdf'}",
        "creation": written,
        "extension": [{"url": SHA256, "valueBase64Binary": sha256(content)}],
    }
    reference: Resource = {
        "resourceType": "DocumentReference",
        "meta": {"security": [TEST_DATA]},
        "identifier": [{"system": FICTITIOUS, "value": f"D-{seed}-{index:07d}-{number}"}],
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}]},
        "date": written,
        "description": title,
        "content": [{"attachment": attachment}],
    }
    return SampleDocument(content, reference)


def sha256(content: bytes) -> str:
    """Return the SHA-256 hash of a document in base64, as the API requires it."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def pdf(lines: list[str]) -> bytes:
    """Return a PDF of one page in Helvetica, for ASCII lines without backslashes (PDF 1.4, ISO 32000-1)."""
    shown = "\n".join(f"({line.replace('(', '[').replace(')', ']')}) '" for line in lines)
    stream = f"BT /F1 10 Tf 14 TL 56 786 Td\n{shown}\nET".encode("ascii")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    out, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end

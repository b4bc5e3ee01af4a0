"""Generate fictitious documents: one page of text or PDF, declared as the API requires."""

import base64
import hashlib
import textwrap
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from healthcare_dr.ops.seed.people import FICTITIOUS, MIDNIGHT, PAPERS, SENTENCES, TEST_DATA, Resource, chance

SHA256: Final = "urn:healthcare-dr:sha256"
LOINC: Final = "http://loinc.org"
YEARS: Final = 6
WIDTH: Final = 78


@dataclass(frozen=True)
class SampleDocument:
    """One document: its bytes, and the DocumentReference that announces them, but for whose it is."""

    content: bytes
    reference: Resource

    def of(self, patient_id: str) -> Resource:
        """The DocumentReference of that patient."""
        return {**self.reference, "subject": {"reference": f"Patient/{patient_id}"}}


def key_of(seed: int, index: int, number: int) -> str:
    """The Idempotency-Key of a document's announcement."""
    return f"hdr-seed-{seed}-patient-{index}-document-{number}"


def paper(seed: int, index: int, number: int) -> SampleDocument:
    """The document with that number of the patient with that index."""
    dice = chance(seed, index, f"document {number}")
    kind, code, display = dice.choice(PAPERS)
    written = MIDNIGHT - timedelta(minutes=dice.randrange(YEARS * 365 * 1440))
    title = f"{display} (fictitious)"
    lines = [title, "", *textwrap.wrap(" ".join(dice.choices(SENTENCES, k=dice.randrange(6, 40))), WIDTH)]
    as_text = dice.random() < 0.67
    content = "\n".join([*lines, ""]).encode() if as_text else pdf(lines)
    instant = written.isoformat().replace("+00:00", "Z")
    attachment: Resource = {
        "contentType": "text/plain" if as_text else "application/pdf",
        "size": len(content),
        "title": f"{kind}.{'txt' if as_text else 'pdf'}",
        "creation": instant,
        "extension": [{"url": SHA256, "valueBase64Binary": sha256(content)}],
    }
    reference: Resource = {
        "resourceType": "DocumentReference",
        "meta": {"security": [TEST_DATA]},
        "identifier": [{"system": FICTITIOUS, "value": f"D-{seed}-{index:07d}-{number}"}],
        "status": "current",
        "type": {"coding": [{"system": LOINC, "code": code, "display": display}]},
        "date": instant,
        "description": title,
        "content": [{"attachment": attachment}],
    }
    return SampleDocument(content, reference)


def sha256(content: bytes) -> str:
    """The hash of a document as it is announced: in base64."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def pdf(lines: list[str]) -> bytes:
    """A PDF of one page in Helvetica, of lines without accents, brackets and backslashes (PDF 1.4, ISO 32000-1)."""
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
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end

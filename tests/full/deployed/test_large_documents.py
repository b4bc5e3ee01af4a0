"""A document that is too large for one request is uploaded in parts."""

import hashlib

import pytest

from support.documents import Documents
from support.platform import REGIONS, letter, offer

EAST, WEST = REGIONS


@pytest.mark.parametrize(("honest", "status"), [(True, "final"), (False, "entered-in-error")])
def test_large_document_is_uploaded_in_parts(documents: Documents, honest: bool, status: str) -> None:
    content = letter() + bytes(65 * 1024 * 1024)
    resource = documents.announce(EAST, content)
    document, sent = resource["id"], content if honest else content[:-1] + b"\1"
    parts = [
        {inner["url"]: value for inner in extension["extension"] for key, value in inner.items() if key != "url"}
        for extension in offer(resource)
        if extension["url"] == "part"
    ]
    assert [part["number"] for part in parts] == [1, 2]
    assert sum(part["size"] for part in parts) == len(content)
    complete = f"/fhir/DocumentReference/{document}/$complete"
    begin = 0
    for part in parts:
        early = documents.apis[EAST].post(complete)
        assert early.status_code == 409, early.text
        piece = sent[begin : begin + part["size"]]
        assert documents.objects.put(part["address"], content=piece[:-1]).status_code == 403
        assert documents.objects.put(part["address"], content=piece).status_code == 200
        begin += part["size"]
    documents.deployed.settle()
    # Either region completes the upload, whichever bucket contains the parts.
    done = documents.apis[WEST].post(complete)
    assert done.status_code == 200, done.text
    assert documents.apis[EAST].post(complete).status_code == 200
    documents.wait_for(EAST, document, status)
    documents.deployed.settle()
    for place in REGIONS:
        documents.wait_for(place, document, status)
        if honest:
            _, downloaded = documents.download(place, document)
            assert hashlib.sha256(downloaded).digest() == hashlib.sha256(content).digest()
        else:
            assert documents.address(place, document) is None
        assert len(documents.versions(place, document)) == 1

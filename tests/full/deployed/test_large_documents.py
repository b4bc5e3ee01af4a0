"""A document that is too large for one request is sent in parts."""

import hashlib

import httpx
import pytest

from support.documents import announced, attachment, becomes, downloaded, read, versions
from support.platform import REGIONS, Deployed, letter, offer

EAST, WEST = REGIONS
Apis = dict[str, httpx.Client]


@pytest.mark.parametrize(("honest", "status"), [(True, "final"), (False, "entered-in-error")])
def test_a_large_document_is_sent_in_parts(
    deployed: Deployed, apis: Apis, patient_id: str, objects: httpx.Client, honest: bool, status: str
) -> None:
    content = letter() + bytes(65 * 1024 * 1024)
    resource = announced(apis[EAST], patient_id, content)
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
        early = apis[EAST].post(complete)
        assert early.status_code == 409, early.text
        piece = sent[begin : begin + part["size"]]
        assert objects.put(part["address"], content=piece[:-1]).status_code == 403
        assert objects.put(part["address"], content=piece).status_code == 200
        begin += part["size"]
    deployed.settle()
    # The region whose bucket has the parts need not be the one that is asked to put them together.
    done = apis[WEST].post(complete)
    assert done.status_code == 200, done.text
    assert apis[EAST].post(complete).status_code == 200
    becomes(apis[EAST], document, status)
    deployed.settle()
    for place in REGIONS:
        becomes(apis[place], document, status)
        if honest:
            _, there = downloaded(apis[place], document, objects)
            assert hashlib.sha256(there).digest() == hashlib.sha256(content).digest()
        else:
            assert "url" not in attachment(read(apis[place], document))
        assert len(versions(deployed, place, document)) == 1

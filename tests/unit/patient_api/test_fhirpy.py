"""The client library fhirpy, unchanged, on the whole API."""

from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome, ResourceNotFound

from unit.patient_api.fakes.api import BASE, Platform, event

SYSTEM = "urn:mrn"


@pytest.fixture
def client(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client whose requests, as `requests` prepares them, are processed in this process."""

    def send(
        _adapter: requests.adapters.HTTPAdapter, request: requests.PreparedRequest, **_: object
    ) -> requests.Response:
        url = urlsplit(str(request.url))
        body = request.body.decode() if isinstance(request.body, bytes) else request.body
        request_event = event(str(request.method), url.path, body, query=url.query, host=str(url.hostname))
        request_event["headers"] = dict(request.headers)
        reply = platform.api(request_event, None)
        response = requests.Response()
        response.status_code = reply["statusCode"]
        response.headers.update(reply["headers"])
        response._content = reply["body"].encode()
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    return SyncFHIRClient(BASE)


def person(client: Any, value: str = "1", **elements: Any) -> Any:
    identifier = [{"system": SYSTEM, "value": value}]
    return client.resource("Patient", name=[{"family": "Example"}], identifier=identifier, **elements)


def found(client: Any, value: str = "1") -> Any:
    return client.resources("Patient").search(identifier=f"{SYSTEM}|{value}")


def test_get_or_create_creates_once(client: Any) -> None:
    first, created = found(client).get_or_create(person(client))
    again, created_again = found(client).get_or_create(person(client, gender="male"))
    assert (created, created_again, again.id) == (True, False, first.id)
    assert found(client).count() == 1


def test_create_with_criteria_returns_the_match(client: Any) -> None:
    first = person(client).create(identifier=f"{SYSTEM}|1")
    again = person(client).create(identifier=f"{SYSTEM}|1")
    assert (again.id, again.meta.versionId) == (first.id, first.meta.versionId)


def test_update_by_criteria_creates_and_replaces(client: Any) -> None:
    first, created = found(client).update(person(client))
    second, created_again = found(client).update(person(client, gender="other"))
    assert (created, created_again, second.id, second.gender) == (True, False, first.id, "other")
    # The version in the body is the precondition.
    second["gender"] = "male"
    assert found(client).update(second)[0].gender == "male"
    with pytest.raises(MultipleResourcesFound):
        found(client).update(second)


def test_patch_by_criteria_changes_the_match(client: Any) -> None:
    with pytest.raises(ResourceNotFound):
        found(client).patch(gender="other")
    first = person(client, birthDate="1970-05-02").create()
    changed = found(client).patch(gender="other")
    assert (changed.id, changed.gender, changed.birthDate) == (first.id, "other", "1970-05-02")


def test_delete_by_criteria_deletes_the_match(client: Any, platform: Platform) -> None:
    with pytest.raises(ResourceNotFound):
        found(client).delete()
    first = person(client).create()
    assert found(client).delete() == (None, 204)
    with pytest.raises(ResourceNotFound):
        client.get("Patient", first.id)
    assert len(platform.versions()) == 2


@pytest.mark.parametrize("change", ["get_or_create", "update", "patch", "delete"])
def test_several_matches_are_not_changed(client: Any, platform: Platform, change: str) -> None:
    for _ in range(2):
        person(client).create()
    arguments = [person(client)] if change in {"get_or_create", "update"} else []
    named = {"gender": "other"} if change == "patch" else {}
    with pytest.raises(MultipleResourcesFound):
        getattr(found(client), change)(*arguments, **named)
    assert len(platform.versions()) == 2


def test_changes_without_criteria_are_rejected(client: Any, platform: Platform) -> None:
    person(client).create()
    everything = client.resources("Patient")
    for change in (
        everything.delete,
        lambda: everything.patch(gender="other"),
        lambda: everything.update(person(client)),
    ):
        with pytest.raises(OperationOutcome):
            change()
    assert len(platform.versions()) == 1


def test_is_valid_reports_each_invalid_element(client: Any, platform: Platform) -> None:
    assert person(client).is_valid()
    wrong = person(client, gender="x", birthDate="yesterday")
    assert not wrong.is_valid()
    with pytest.raises(OperationOutcome) as refused:
        wrong.is_valid(raise_exception=True)
    assert [issue["expression"] for issue in refused.value.resource["issue"]] == [
        ["Patient.gender"],
        ["Patient.birthDate"],
    ]
    assert not platform.versions()


def test_validate_is_executed_in_every_form(client: Any) -> None:
    first = person(client).create()
    whole = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": first.serialize()}]}
    answers = [
        first.execute("$validate", data=first.serialize()),
        first.to_reference().execute("$validate", data=whole),
        client.resources("Patient").execute("$validate", data=whole, params={"mode": "create"}),
        client.execute("Patient/$validate", data=first.serialize()),
    ]
    assert [answer["issue"][0]["severity"] for answer in answers] == ["information"] * 4
    (other,) = first.execute("$validate", data=person(client).serialize())["issue"]
    assert (other["severity"], other["expression"]) == ("error", ["Patient.id"])


def test_reads_and_changes_by_id_work(client: Any) -> None:
    first = person(client).create()
    first["gender"] = "other"
    first.save()
    first.patch(birthDate="1970-05-02")
    assert first.refresh().birthDate == "1970-05-02"
    assert [one.id for one in found(client).fetch_all()] == [first.id]
    assert found(client).first().gender == found(client).get().gender == "other"
    assert first.to_reference().to_resource().id == first.id
    first.delete()
    assert found(client).count() == 0

"""Published FHIR client libraries, with all of their interactions, at the addresses that `hdr status` prints."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from typing import Any, Literal
from uuid import uuid4

import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.patient import Patient as PatientModel
from fhirclient.client import FHIRClient
from fhirclient.models import bundle as fhirclient_bundle
from fhirclient.models import patient as fhirclient_patient
from fhirclient.server import FHIRNotFoundException
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome, ResourceNotFound
from pydantic import BaseModel, ConfigDict

from support.platform import ALL_RIGHTS, MARKS, REGIONS, Deployed, letter, patient, reference

pytestmark = pytest.mark.requirement("C6")

SYSTEM = "urn:healthcare-dr:fictitious"
# Two full pages and a third one.
PATIENTS, PAGE = 7, 3


@pytest.fixture(scope="module")
def addresses(deployed: Deployed) -> dict[str, str]:
    """Return the base address of FHIR in each region, as `hdr status` prints it."""
    reported = json.loads(deployed.hdr("status", "--json").stdout)
    return {one["region"]: f"{one['endpoint']}/fhir" for one in reported["regions"]}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, authority: str) -> None:
    """Set the trusted authority for `requests`, and disable proxies for the loopback interface."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def token(deployed: Deployed) -> str:
    """Return a token with every right of a new tenant, so that counts include only patients of the test."""
    return deployed.token(tenant=f"clients-{uuid4()}", scopes=ALL_RIGHTS)


@pytest.fixture
def authority(deployed: Deployed) -> str:
    return str(deployed.emulator.certificate)


def body(**elements: object) -> dict[str, Any]:
    return dict(patient(**elements))


class Model(BaseModel):
    """A pydantic model of a patient, for fhirpy."""

    model_config = ConfigDict(extra="allow")
    resourceType: Literal["Patient"]  # noqa: N815 - the name that fhirpy requires
    id: str | None = None
    gender: str | None = None


class TestFhirpy:
    @pytest.fixture
    def client(self, addresses: dict[str, str], region: str, token: str) -> SyncFHIRClient:
        return SyncFHIRClient(addresses[region], authorization=f"Bearer {token}")

    def test_create_read_update_and_delete(self, client: SyncFHIRClient) -> None:
        made = client.resource("Patient", **body())
        made.save()
        read = client.reference("Patient", made["id"]).to_resource()
        assert dict(read) == dict(made) == client.get("Patient", made["id"])

        read["gender"] = "female"
        read.save()
        assert read["meta"]["versionId"] > made["meta"]["versionId"]
        with pytest.raises(MultipleResourcesFound):  # fhirpy's name for 412: `made` is the previous version
            made.save()

        read.patch(birthDate="1970-06-03")
        assert (read["gender"], read["birthDate"]) == ("female", "1970-06-03")
        read.save(fields=["gender"])
        assert "gender" not in client.patch("Patient", read["id"], gender=None)
        made.refresh()
        assert ("gender" in made, made["birthDate"]) == (False, "1970-06-03")
        made.update()

        made.delete()
        with pytest.raises(ResourceNotFound):
            client.get("Patient", made["id"])

    def test_search_count_and_pages(self, client: SyncFHIRClient) -> None:
        made = [client.resource("Patient", **body()).save() for _ in range(PATIENTS)]
        ids = {one["id"] for one in made}
        patients = client.resources("Patient")
        assert patients.count() == PATIENTS
        assert patients.search(gender="female").count() == 0
        everything = patients.limit(PAGE)
        assert len(everything.fetch()) == PAGE
        assert [one["id"] for one in everything.fetch_all()] == [one["id"] for one in everything]
        assert {one["id"] for one in everything} == ids
        assert {one["id"] for one in everything.search(family=MARKS[0], birthdate__ge="1970-01-01")} == ids
        newest = patients.sort("-_lastUpdated").first()
        assert newest is not None
        assert newest["meta"]["lastUpdated"] == max(one["meta"]["lastUpdated"] for one in made)
        assert patients.search(_id=made[0]["id"]).get() == made[0]
        with pytest.raises(MultipleResourcesFound):
            patients.get()
        raw = patients.search(identifier=f"{SYSTEM}|{MARKS[2]}").fetch_raw()
        assert {entry["resource"]["id"] for entry in raw["entry"]} == ids
        assert client.execute("metadata", method="get")["resourceType"] == "CapabilityStatement"

    def test_conditional_interactions(self, client: SyncFHIRClient) -> None:
        number = str(uuid4())
        fields = body(identifier=[{"system": SYSTEM, "value": number}])
        matching = client.resources("Patient").search(identifier=f"{SYSTEM}|{number}")
        first, created = matching.get_or_create(client.resource("Patient", **fields))
        again, anew = matching.get_or_create(client.resource("Patient", **fields))
        assert (created, anew, again["id"]) == (True, False, first["id"])
        assert client.resource("Patient", **fields).create(identifier=f"{SYSTEM}|{number}")["id"] == first["id"]
        assert matching.count() == 1

        updated, created = matching.update(client.resource("Patient", **fields, gender="female"))
        assert (created, updated["id"], updated["gender"]) == (False, first["id"], "female")
        assert matching.patch(gender="other")["gender"] == "other"
        matching.delete()
        with pytest.raises(ResourceNotFound):
            client.get("Patient", first["id"])
        _, created = matching.update(client.resource("Patient", **fields))
        assert (created, matching.count()) == (True, 1)

        client.resource("Patient", **fields).save()
        for refused in (
            lambda: matching.get_or_create(client.resource("Patient", **fields)),
            lambda: matching.update(client.resource("Patient", **fields)),
            lambda: matching.patch(gender="female"),
            matching.delete,
        ):
            with pytest.raises(MultipleResourcesFound):
                refused()
        assert matching.count() == 2

    def test_pydantic_models(self, addresses: dict[str, str], region: str, token: str) -> None:
        client = SyncFHIRClient(
            addresses[region],
            authorization=f"Bearer {token}",
            dump_resource=lambda model: json.loads(model.model_dump_json(exclude_none=True)),
        )
        made = client.create(Model(**body()))
        assert made.id is not None
        assert client.get(Model, made.id) == made
        assert client.resources(Model).fetch_all() == [made]
        updated = client.update(made.model_copy(update={"gender": "female"}))
        assert client.save(updated, fields=["gender"]).gender == "female"
        assert client.patch(updated, gender="other").gender == "other"
        client.delete(updated)
        with pytest.raises(ResourceNotFound):
            client.get(updated)

    def test_validation(self, client: SyncFHIRClient) -> None:
        assert client.resource("Patient", **body()).is_valid()
        wrong = client.resource("Patient", **body(gender="of no known gender"))
        assert not wrong.is_valid()
        with pytest.raises(OperationOutcome):
            wrong.save()

    def test_documents(self, client: SyncFHIRClient) -> None:
        someone = client.resource("Patient", **body()).save()
        made = client.resource("DocumentReference", **reference(someone["id"], letter()))
        made.save()
        found = client.resources("DocumentReference").search(patient=someone)
        assert [one["id"] for one in found] == [made["id"]]
        assert made.to_reference().to_resource()["docStatus"] == "preliminary"

    def test_asynchronous_client(self, addresses: dict[str, str], region: str, token: str, authority: str) -> None:
        async def run() -> None:
            client = AsyncFHIRClient(
                addresses[region],
                authorization=f"Bearer {token}",
                aiohttp_config={"ssl": ssl.create_default_context(cafile=authority)},
            )
            made = await asyncio.gather(*(client.resource("Patient", **body()).save() for _ in range(PATIENTS)))
            patients = client.resources("Patient").limit(PAGE)
            assert await patients.count() == PATIENTS
            assert {one["id"] async for one in patients} == {one["id"] for one in made}
            one = await client.reference("Patient", made[0]["id"]).to_resource()
            one["gender"] = "female"
            await one.save()
            await one.patch(gender="other")
            assert (await one.to_reference().to_resource())["gender"] == "other"
            await one.delete()
            assert await patients.count() == PATIENTS - 1

        asyncio.run(run())


class TestFhirclient:
    @pytest.fixture
    def client(self, addresses: dict[str, str], region: str, token: str) -> Iterator[FHIRClient]:
        auth = {"app_id": "tests", "access_token": token}
        server = {"base_uri": f"{addresses[region]}/", "auth_type": "oauth2", "auth": auth}
        client = FHIRClient(state={"app_id": "tests", "server": server})
        with client.server.session:
            yield client

    def test_create_read_update_and_delete(self, client: FHIRClient) -> None:
        server = client.server
        created = fhirclient_patient.Patient(patient()).create(server)
        read = fhirclient_patient.Patient.read(created["id"], server)
        assert read.as_json() == created
        read.gender = "female"
        updated = read.update(server)
        assert (updated["gender"], updated["meta"]["versionId"] > created["meta"]["versionId"]) == ("female", True)
        again = fhirclient_patient.Patient.read_from(f"Patient/{created['id']}", server)
        assert again.as_json() == updated
        client.patient_id = created["id"]
        assert client.patient.as_json() == updated
        again.delete(server)
        with pytest.raises(FHIRNotFoundException):
            fhirclient_patient.Patient.read(str(uuid4()), server)

    def test_search_and_pages(self, client: FHIRClient) -> None:
        server = client.server
        made = {fhirclient_patient.Patient(patient()).create(server)["id"] for _ in range(PATIENTS)}
        search = fhirclient_patient.Patient.where({"family": MARKS[0], "_count": str(PAGE)})
        assert {one.id for one in search.perform_resources_iter(server)} == made
        assert [len(page.entry) for page in search.perform_iter(server)] == [PAGE, PAGE, PATIENTS - 2 * PAGE]
        either = fhirclient_patient.Patient.where({"identifier": {"$or": [f"{SYSTEM}|{MARKS[2]}", f"{SYSTEM}|none"]}})
        assert {one.id for one in either.perform_resources_iter(server)} == made
        total = fhirclient_bundle.Bundle.read_from("Patient?_summary=count", server)
        assert (total.total, total.entry) == (PATIENTS, None)

    def test_capability_statement_is_read(self, client: FHIRClient) -> None:
        statement = client.server.capabilityStatement
        assert {one.type for one in statement.rest[0].resource} == {"Patient", "DocumentReference", "AuditEvent"}


def test_fhir_resources_parses_every_response(
    deployed: Deployed, addresses: dict[str, str], region: str, token: str
) -> None:
    with deployed.http(headers={"Authorization": f"Bearer {token}"}) as http:

        def answer(method: str, path: str, status: int = 200, **options: Any) -> Any:
            sent = http.request(method, f"{addresses[region]}/{path}", **options)
            assert sent.status_code == status, sent.text
            return get_fhir_model_class(sent.json()["resourceType"]).model_validate_json(sent.content)

        written = PatientModel(**patient()).model_dump_json()
        fhir = {"Content-Type": "application/fhir+json"}
        made = answer("POST", "Patient", 201, content=written, headers=fhir)
        made.gender = "female"
        updated = answer("PUT", f"Patient/{made.id}", content=made.model_dump_json(), headers=fhir)
        assert (updated.id, updated.gender, updated.identifier) == (made.id, "female", made.identifier)
        document = answer("POST", "DocumentReference", 201, json=reference(made.id, letter()), headers=fhir)
        for page, expected in (
            ("Patient", [made.id]),
            (f"Patient/{made.id}/_history", [made.id, made.id]),
            (f"DocumentReference?patient={made.id}", [document.id]),
        ):
            found = answer("GET", page)
            assert [entry.resource.id for entry in found.entry] == expected
        lenient = answer("GET", "Patient?family=fict&unknown=1", headers={"Prefer": "handling=lenient"})
        assert [entry.search.mode for entry in lenient.entry] == ["match", "outcome"]
        trail = answer("GET", f"AuditEvent?patient={made.id}&_count=100")
        assert trail.total == len(trail.entry) >= 4
        assert answer("GET", "Patient?unknown=1", 400).issue[0].severity == "error"
        assert answer("GET", "metadata").fhirVersion == "4.0.1"


def test_every_link_begins_with_the_address_of_the_request(
    deployed: Deployed, addresses: dict[str, str], token: str
) -> None:
    assert list(addresses) == list(REGIONS)
    with deployed.http(headers={"Authorization": f"Bearer {token}"}) as http:
        for address in addresses.values():
            made = http.post(f"{address}/Patient", json=patient())
            assert made.headers["location"].startswith(f"{address}/Patient/{made.json()['id']}/_history/")
            page = http.get(f"{address}/Patient", params={"_count": "1"}).json()
            links = [link["url"] for link in page["link"]] + [entry["fullUrl"] for entry in page["entry"]]
            assert len(links) >= 2
            assert all(link.startswith(f"{address}/Patient") for link in links), links

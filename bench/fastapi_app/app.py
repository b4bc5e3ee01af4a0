"""The routes."""

import json
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Path, Query, Request, Response

from bench.fastapi_app import store
from bench.fastapi_app.models import DocumentReference, Patient

FHIR = "application/fhir+json"
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
Count = Annotated[int, Query(alias="_count", ge=1, le=50)]

app = FastAPI(title="Patients", docs_url=None, redoc_url=None, openapi_url=None)


def caller(request: Request) -> store.Caller:
    """From the claims that the gateway has checked."""
    context = request.scope["aws.event"]["requestContext"]
    claims = context.get("authorizer", {}).get("jwt", {}).get("claims")
    if not claims:
        raise HTTPException(401, "A token is required.")
    return store.Caller(
        tenant=claims["tenant"],
        subject=claims["sub"],
        scope=claims["scope"],
        source_ip=context["http"]["sourceIp"],
        request_id=context["requestId"],
    )


def granted(kind: str, right: str) -> Any:
    """The caller, if the token grants the right."""

    def check(who: Annotated[store.Caller, Depends(caller)]) -> store.Caller:
        grants = (re.fullmatch(r"(?:system|user)/(\w+|\*)\.(c?r?u?d?s?)", word) for word in who.scope.split())
        if not any(grant and grant[1] in {kind, "*"} and right in grant[2] for grant in grants):
            raise HTTPException(403, "The token does not grant this.")
        return who

    return Depends(check)


def answer(item: store.Item | None, status: int = 200) -> Response:
    """A version as it is stored."""
    if item is None:
        raise HTTPException(404, "There is no such record.")
    if "resource" not in item:
        raise HTTPException(410, "The record was deleted.")
    stamp = item["version"]["S"]
    headers = {
        "ETag": f'W/"{stamp}"',
        "Last-Modified": formatdate(int(stamp[:13]) // 1000, usegmt=True),
        "Cache-Control": "no-store",
    }
    return Response(item["resource"]["S"], status, headers, FHIR)


def bundle(kind: str, entries: Sequence[Any]) -> Response:
    """A Bundle of resources."""
    content = {"resourceType": "Bundle", "type": kind, "entry": [{"resource": entry} for entry in entries]}
    return Response(json.dumps(content), headers={"Cache-Control": "no-store"}, media_type=FHIR)


@app.get("/health")
def health() -> dict[str, str]:
    store.dynamodb.describe_table(TableName=store.RECORDS)
    return {"status": "healthy"}


@app.get("/drain/{region}")
def drain(region: str) -> dict[str, bool]:
    key = {"pk": {"S": "$platform#drain"}, "sk": {"S": region}}
    return {"drained": "Item" in store.dynamodb.get_item(TableName=store.RECORDS, Key=key)}


@app.get("/fhir/metadata")
def capabilities() -> dict[str, Any]:
    kinds = ("AuditEvent", "DocumentReference", "Patient")
    rest = [{"mode": "server", "resource": [{"type": kind} for kind in kinds]}]
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "format": ["json"], "rest": rest}


@app.post("/fhir/Patient", status_code=201)
def create_patient(patient: Patient, who: Annotated[store.Caller, granted("Patient", "c")]) -> Response:
    tokens = sorted(set(_tokens(who.tenant, patient)))
    return answer(store.write(who, "Patient", str(uuid.uuid4()), patient, replaces=None, tokens=tokens), 201)


@app.get("/fhir/Patient")
def search_patients(
    who: Annotated[store.Caller, granted("Patient", "s")],
    name: str | None = None,
    identifier: str | None = None,
    count: Count = 20,
) -> Response:
    if identifier is not None:
        parameter = "system-identifier" if "|" in identifier else "identifier"
        token = store.token(who.tenant, "Patient", parameter, identifier.casefold())
    elif name is not None:
        folded = _fold(name)
        token = store.token(who.tenant, "Patient", "name", folded[: 4 if len(folded) >= 4 else 2])
    else:
        raise HTTPException(400, "A name or an identifier is required.")
    found = [json.loads(item["resource"]["S"]) for item in store.search(who, "Patient", token, count)]
    return bundle("searchset", [one for one in found if name is None or any(_matching(one, _fold(name)))])


@app.get("/fhir/Patient/{id}")
def read_patient(id: Id, who: Annotated[store.Caller, granted("Patient", "r")]) -> Response:
    return answer(store.newest(who, "Patient", id))


@app.put("/fhir/Patient/{id}")
def update_patient(
    id: Id,
    patient: Patient,
    who: Annotated[store.Caller, granted("Patient", "u")],
    if_match: Annotated[str, Header(pattern=r'^W/"[^"]+"$')],
) -> Response:
    if patient.id != id:
        raise HTTPException(422, "The id must be the one in the URL.")
    tokens = sorted(set(_tokens(who.tenant, patient)))
    return answer(_moving(lambda: store.write(who, "Patient", id, patient, replaces=if_match[3:-1], tokens=tokens)))


@app.delete("/fhir/Patient/{id}", status_code=204)
def delete_patient(id: Id, who: Annotated[store.Caller, granted("Patient", "d")]) -> Response:
    known = store.newest(who, "Patient", id)
    if known is None:
        raise HTTPException(404, "There is no such record.")
    _moving(lambda: store.write(who, "Patient", id, None, replaces=known["version"]["S"]))
    return Response(status_code=204)


@app.get("/fhir/Patient/{id}/_history")
def patient_history(id: Id, who: Annotated[store.Caller, granted("Patient", "r")], count: Count = 20) -> Response:
    found = store.versions(who, "Patient", id, limit=count)
    return bundle("history", [json.loads(item["resource"]["S"]) for item in found if "resource" in item])


@app.get("/fhir/Patient/{id}/_history/{vid}")
def read_patient_version(id: Id, vid: Id, who: Annotated[store.Caller, granted("Patient", "r")]) -> Response:
    return answer(next(iter(store.versions(who, "Patient", id, limit=1, exactly=vid)), None))


@app.post("/fhir/DocumentReference", status_code=201)
def create_document(
    document: DocumentReference, who: Annotated[store.Caller, granted("DocumentReference", "c")]
) -> Response:
    subject = (document.subject.reference or "").removeprefix("Patient/")
    tokens = [store.token(who.tenant, "DocumentReference", "patient", subject)]
    written = store.write(who, "DocumentReference", str(uuid.uuid4()), document, replaces=None, tokens=tokens)
    return answer(written, 201)


@app.get("/fhir/DocumentReference")
def search_documents(
    who: Annotated[store.Caller, granted("DocumentReference", "s")], patient: str, count: Count = 20
) -> Response:
    token = store.token(who.tenant, "DocumentReference", "patient", patient.removeprefix("Patient/"))
    found = store.search(who, "DocumentReference", token, count)
    return bundle("searchset", [json.loads(item["resource"]["S"]) for item in found])


@app.get("/fhir/DocumentReference/{id}")
def read_document(id: Id, who: Annotated[store.Caller, granted("DocumentReference", "r")]) -> Response:
    return answer(store.newest(who, "DocumentReference", id))


@app.get("/fhir/AuditEvent")
def search_events(
    who: Annotated[store.Caller, granted("AuditEvent", "s")], patient: str, count: Count = 20
) -> Response:
    found = store.events(who, patient.removeprefix("Patient/"), count)
    texts = [{name: value["S"] for name, value in item.items() if "S" in value} for item in found]
    return bundle("searchset", [{"resourceType": "AuditEvent", "id": one["event"], **one} for one in texts])


def _moving(write: Callable[[], store.Item]) -> store.Item:
    try:
        return write()
    except store.Moved:
        raise HTTPException(412, "If-Match is not the current version.") from None


def _tokens(tenant: str, patient: Patient) -> Iterator[str]:
    for name in patient.name or ():
        for text in (name.family, *(name.given or ()), *(name.prefix or ()), *(name.suffix or ()), name.text):
            folded = _fold(text or "")
            yield from (store.token(tenant, "Patient", "name", folded[:size]) for size in (2, 4) if len(folded) >= size)
    for one in patient.identifier or ():
        if one.value:
            value = one.value.casefold()
            yield store.token(tenant, "Patient", "identifier", value)
            yield store.token(tenant, "Patient", "system-identifier", f"{one.system or ''}|{value}")
    if patient.birthDate:
        yield store.token(tenant, "Patient", "birth-year", patient.birthDate[:4])


def _matching(resource: dict[str, Any], folded: str) -> Iterator[bool]:
    for name in resource.get("name", ()):
        for text in (name.get("family", ""), *name.get("given", ()), *name.get("prefix", ()), *name.get("suffix", ())):
            yield _fold(text).startswith(folded)


def _fold(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(c)).strip()

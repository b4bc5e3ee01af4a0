"""What answers each operation of the table of routes."""

from collections.abc import Mapping

from patient_api.api.answer import Answer
from patient_api.api.edge import Responder
from patient_api.api.services import Services
from patient_api.errors import Malformed
from patient_api.exchange.preconditions import Preconditions
from patient_api.exchange.request import Request
from patient_api.records.model import DOCUMENT, PATIENT, Version


def responders(services: Services) -> Mapping[str, Responder]:
    """By operation; parameters of the path come by name."""
    return {
        "getHealth": lambda _: _health(services),
        "getDrain": lambda _, region: _drain(services, region),
        "getCapabilities": lambda request: _capabilities(request, services),
        "getSmartConfiguration": lambda _: Answer.plain(200, services.smart.document()),
        "createPatient": lambda request: _created(request, services),
        "searchPatients": lambda request: Answer(200, services.searches.search(request, PATIENT)),
        "searchPatientsByForm": lambda request: Answer(200, services.searches.search(request, PATIENT)),
        "searchDocuments": lambda request: Answer(200, services.searches.search(request, DOCUMENT)),
        "createDocument": lambda request: _announced(request, services),
        # Never 304: the tag is the version's, but the address in the answer expires within minutes.
        "readDocument": lambda request, id: Answer.version(services.documents.read(request, id)),
        "completeDocument": lambda request, id: Answer.version(services.documents.complete(request, id)),
        "searchAuditEvents": lambda request: Answer(200, services.audit_search.search(request)),
        "readPatient": lambda request, id: _read(request, services.patients.read(request, id)),
        "updatePatient": lambda request, id: Answer.written(services.patients.update(request, id), request),
        "patchPatient": lambda request, id: _patched(request, services.patients.patch(request, id)),
        "deletePatient": lambda request, id: _deleted(services.patients.delete(request, id)),
        "updatePatientThatMatches": lambda request: _updated(request, services),
        "patchPatientThatMatches": lambda request: _patched(request, services.conditional.patch(request)),
        "deletePatientThatMatches": lambda request: _deleted(services.conditional.delete(request)),
        "validatePatient": lambda request: Answer.validation(services.validation.validate(request)),
        "validatePatientUpdate": lambda request, id: Answer.validation(services.validation.validate(request, id)),
        "getPatientHistory": lambda request, id: Answer(200, services.history.history(request, id)),
        "readPatientVersion": lambda request, id, vid: _read(request, services.patients.vread(request, id, vid)),
    }


def _health(services: Services) -> Answer:
    healthy = services.health.healthy()
    return Answer.plain(200 if healthy else 503, {"status": "healthy" if healthy else "unhealthy"})


def _drain(services: Services, region: str) -> Answer:
    drained = services.drain.drained(region)
    return Answer.plain(200 if drained else 404, {"drained": drained})


def _capabilities(request: Request, services: Services) -> Answer:
    from patient_api.api.capabilities import statement

    if any(name == "mode" and value != "full" for name, value in request.parameters_of_query()):
        raise Malformed("mode must be full.")
    return Answer(200, statement(request.base, cors=services.cors))


def _created(request: Request, services: Services) -> Answer:
    made = services.creation.create(request)
    if made.fresh:
        return Answer.written(made.version, request, status=201)
    return Answer.written(made.version, request, said="A record that matches was there already.")


def _updated(request: Request, services: Services) -> Answer:
    made = services.conditional.update(request)
    return Answer.written(made.version, request, status=201 if made.fresh else 200)


def _announced(request: Request, services: Services) -> Answer:
    # In full whatever the caller prefers: the answer holds the address to upload to, and nothing else does.
    return Answer.version(services.documents.create(request).version, status=201, base=request.base)


def _read(request: Request, version: Version) -> Answer:
    if Preconditions.of(request).known(version):
        return Answer.version(version, status=304, whole=False)
    return Answer.version(version)


def _patched(request: Request, version: Version) -> Answer:
    # Whoever may change a record without reading it gets no more of it than it sent.
    return Answer.written(version, request, shown=request.caller.may("r", PATIENT))


def _deleted(version: Version) -> Answer:
    return Answer.version(version, status=204, whole=False)

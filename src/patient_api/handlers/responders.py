"""Map each operation of the contract to a service, and the service's result to a response."""

from collections.abc import Mapping

from patient_api.bootstrap import Services
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.errors import Malformed
from patient_api.http.dispatcher import Dispatcher, Responder
from patient_api.http.preconditions import Preconditions
from patient_api.http.request import Request
from patient_api.http.response import Response
from patient_api.store.model import Version


def dispatcher(services: Services) -> Dispatcher:
    """Return the dispatcher of the API, which uses these services."""
    return Dispatcher(responders=responders(services), log=services.log, tenant_claim=services.tenant_claim)


def responders(services: Services) -> Mapping[str, Responder]:
    """Return the responder of each operation. Path parameters are passed as keyword arguments."""
    return {
        "getHealth": lambda _: _health(services),
        "getDrain": lambda _, region: _drain(services, region),
        "getCapabilities": lambda request: _capabilities(request, services),
        "getSmartConfiguration": lambda _: Response.plain(200, services.smart.document()),
        "createPatient": lambda request: _created(request, services),
        "searchPatients": lambda request: Response(200, services.searches.search(request, PATIENT)),
        "searchPatientsByForm": lambda request: Response(200, services.searches.search(request, PATIENT)),
        "searchDocuments": lambda request: Response(200, services.searches.search(request, DOCUMENT)),
        "createDocument": lambda request: _document_created(request, services),
        # Never 304: the ETag is the version's, and the URL in the response expires within minutes.
        "readDocument": lambda request, id: Response.version(services.documents.read(request, id)),
        "completeDocument": lambda request, id: Response.version(services.documents.complete(request, id)),
        "searchAuditEvents": lambda request: Response(200, services.audit_search.search(request)),
        "readPatient": lambda request, id: _read(request, services.patients.read(request, id)),
        "updatePatient": lambda request, id: Response.written(services.patients.update(request, id), request),
        "patchPatient": lambda request, id: _patched(request, services.patients.patch(request, id)),
        "deletePatient": lambda request, id: _deleted(services.patients.delete(request, id)),
        "updatePatientThatMatches": lambda request: _updated(request, services),
        "patchPatientThatMatches": lambda request: _patched(request, services.conditional.patch(request)),
        "deletePatientThatMatches": lambda request: _deleted(services.conditional.delete(request)),
        "validatePatient": lambda request: Response.validation(services.validation.validate(request)),
        "validatePatientUpdate": lambda request, id: Response.validation(services.validation.validate(request, id)),
        "getPatientHistory": lambda request, id: Response(200, services.history.history(request, id)),
        "readPatientVersion": lambda request, id, vid: _read(request, services.patients.vread(request, id, vid)),
    }


def _health(services: Services) -> Response:
    healthy = services.health.healthy()
    return Response.plain(200 if healthy else 503, {"status": "healthy" if healthy else "unhealthy"})


def _drain(services: Services, region: str) -> Response:
    drained = services.drain.drained(region)
    return Response.plain(200 if drained else 404, {"drained": drained})


def _capabilities(request: Request, services: Services) -> Response:
    from patient_api.discovery.capability_statement import statement

    if any(name == "mode" and value != "full" for name, value in request.parameters_of_query()):
        raise Malformed("mode must be full.")
    return Response(200, statement(request.base, cors=services.cors))


def _created(request: Request, services: Services) -> Response:
    created = services.creation.create(request)
    if created.fresh:
        return Response.written(created.version, request, status=201)
    return Response.written(created.version, request, text="A record that matches exists already.")


def _updated(request: Request, services: Services) -> Response:
    created = services.conditional.update(request)
    return Response.written(created.version, request, status=201 if created.fresh else 200)


def _document_created(request: Request, services: Services) -> Response:
    # Ignores Prefer: only the resource in the response contains the upload URL.
    return Response.version(services.documents.create(request).version, status=201, base=request.base)


def _read(request: Request, version: Version) -> Response:
    if Preconditions.of(request).known(version):
        return Response.version(version, status=304, whole=False)
    return Response.version(version)


def _patched(request: Request, version: Version) -> Response:
    # A client without the right to read receives nothing of the record that it did not send.
    return Response.written(version, request, shown=request.caller.may("r", PATIENT))


def _deleted(version: Version) -> Response:
    return Response.version(version, status=204, whole=False)

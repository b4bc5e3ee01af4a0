"""Puts the API of one region together."""

from collections.abc import Mapping

from patient_api.api.edge import Api
from patient_api.api.responders import responders
from patient_api.api.services import Services
from patient_api.aws import Clients
from patient_api.environment import Environment
from patient_api.journal import Journal


def wire(variables: Mapping[str, str]) -> Api:
    """The API as Lambda's environment describes it. Raises KeyError with the name of a variable that is not set."""
    environment = Environment.of(variables)
    journal = Journal(service="patient-api", region=environment.region, level=environment.log_level)
    services = Services(environment=environment, clients=Clients(region=environment.region), journal=journal)
    # Made ahead of the first call, while Lambda still lends a start its full processor.
    _ = services.patients
    return Api(responders=responders(services), journal=journal, tenant_claim=variables["TENANT_CLAIM"])

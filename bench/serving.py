"""The API as Lambda starts it, but with clients that the benchmark can watch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from patient_api.aws import Clients
from patient_api.bootstrap import Services, responders
from patient_api.contract.functions import API, Environment
from patient_api.http.dispatcher import Dispatcher
from patient_api.logging import StructuredLog

Sent = list[tuple[str, dict[str, Any]]]


def serve(variables: Mapping[str, str], clients: Clients) -> Dispatcher:
    """As `patient_api.bootstrap.wire`."""
    environment = Environment.of(variables, API)
    log = StructuredLog(service=API.name, region=environment.region, level=environment.log_level)
    services = Services(environment=environment, clients=clients, log=log)
    return Dispatcher(responders=responders(services), log=log)


@contextmanager
def sent_to(dynamodb: Any) -> Iterator[Sent]:
    """What is sent to DynamoDB meanwhile: operations with their parameters."""
    sent: Sent = []

    def note(params: dict[str, Any], model: Any, **_: object) -> None:
        sent.append((model.name, deepcopy(params)))

    dynamodb.meta.events.register("provide-client-params.dynamodb", note)
    try:
        yield sent
    finally:
        dynamodb.meta.events.unregister("provide-client-params.dynamodb", note)

"""The Lambda entry point that confirms documents. Invoked by the bucket's events and by a schedule."""

import os
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol
from uuid import uuid4

from patient_api.audit.trail import AuditTrail
from patient_api.aws import PATIENT, Clients
from patient_api.clock import Clock
from patient_api.contract.functions import CONFIRM_DOCUMENTS, Environment
from patient_api.documents.bootstrap import Documents, utc_now
from patient_api.documents.confirmation import Confirmation
from patient_api.documents.copies import Copies
from patient_api.documents.events import Events
from patient_api.documents.peer import Peer
from patient_api.documents.work import ConfirmationWorker
from patient_api.logging import StructuredLog
from patient_api.store.transactions import Transactions
from patient_api.store.versions import VersionStore

# At once: each may hold a piece of 64 MiB.
DOCUMENTS: Final = 4


class Context(Protocol):
    """The attributes of Lambda's context object that the function uses."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


def wire(variables: Mapping[str, str]) -> ConfirmationWorker:
    """The work as Lambda's environment describes it. Raises KeyError with the name of a variable that is not set."""
    environment = Environment.of(variables, CONFIRM_DOCUMENTS)
    region = environment.region
    clients = Clients(region=region, objects=PATIENT)
    client = clients.dynamodb()
    documents = Documents(environment=environment, clients=clients)
    log = StructuredLog(service=CONFIRM_DOCUMENTS.name, region=region, level=environment.log_level)
    confirmation = Confirmation(
        records=VersionStore(
            client=client,
            table=environment.records_table,
            region=region,
            trail=AuditTrail(client=client, table=environment.audit_table),
            transactions=Transactions(client=client),
            pool=ThreadPoolExecutor(1, "store"),
        ),
        pending=documents.pending(),
        here=documents.here,
        peer=Peer(
            bucket=documents.there,
            copies=Copies(client=documents.peer_client, bucket=environment.peer_documents_bucket),
            now=utc_now,
            sleep=time.sleep,
        ),
        clock=Clock(region=region, now_ms=lambda: time.time_ns() // 1_000_000),
        events=Events(region=region, now=utc_now, new_id=lambda: str(uuid4())),
        log=log,
    )
    return ConfirmationWorker(
        confirmation=confirmation,
        pending=documents.pending(),
        log=log,
        pool=ThreadPoolExecutor(DOCUMENTS, "document"),
        now=utc_now,
        monotonic=time.monotonic,
        shuffle=random.shuffle,
    )


def handler(event: Mapping[str, Any], context: Context) -> None:
    """Confirm the documents that S3 reports, or with `{"sweep": true}` those that wait."""
    if event.get("sweep"):
        _work.sweep(seconds=context.get_remaining_time_in_millis() / 1000, request_id=context.aws_request_id)
    else:
        _work.uploaded(event.get("Records", ()), request_id=context.aws_request_id)


_work: Final = wire(os.environ)

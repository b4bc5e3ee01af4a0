"""Puts the API of one region together."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from patient_api.api import Api
from patient_api.aws import Clients
from patient_api.clock import Clock
from patient_api.drain import Drain, DrainFlags
from patient_api.environment import Environment
from patient_api.health import Health
from patient_api.journal import Journal
from patient_api.patients import Patients
from patient_api.probes import probes
from patient_api.records import DynamoRecords
from patient_api.trail import AuditTrail


def wire(variables: Mapping[str, str]) -> Api:
    """The API as Lambda's environment describes it. Raises KeyError with the name of a variable that is not set."""
    environment = Environment.of(variables)
    return build(
        environment=environment,
        clients=Clients(region=environment.region),
        logger=Logger(utc=True, use_rfc3339=True),
        metrics=EphemeralMetrics(),
    )


def build(*, environment: Environment, clients: Clients, logger: Logger, metrics: EphemeralMetrics) -> Api:
    """The API of one region on these clients."""
    # Probes have threads of their own: one that hangs must not hold up an audit event.
    storing, probing = ThreadPoolExecutor(4, "store"), ThreadPoolExecutor(8, "probe")
    client = clients.dynamodb()
    journal = Journal(logger=logger, metrics=metrics, region=environment.region)
    trail = AuditTrail(client=client, table=environment.audit_table)
    flags = DrainFlags(client=client, table=environment.records_table)
    return Api(
        patients=Patients(
            records=DynamoRecords(client=client, table=environment.records_table, trail=trail, pool=storing),
            trail=trail,
            clock=Clock(region=environment.region, now_ms=lambda: time.time_ns() // 1_000_000),
            region=environment.region,
            now=lambda: datetime.now(UTC),
            new_id=lambda: str(uuid4()),
        ),
        health=Health(probes=probes(clients=clients, environment=environment), pool=probing, witness=journal),
        drain=Drain(raised=flags.raised, regions={environment.region, environment.peer_region}),
        journal=journal,
    )

"""Check whether this region can serve.

The check is deep, because each probe uses what a record or a document needs, and bounded in time: Route 53 gives an
endpoint 4 s to connect and 2 s more to respond
(https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from patient_api.aws import Clients
from patient_api.aws_errors import translated
from patient_api.contract.functions import Environment
from patient_api.contract.keys import HEALTH_PROBE
from patient_api.contract.keys import key as item_key
from patient_api.errors import StorageFault
from patient_api.logging import StructuredLog
from patient_api.ttl_cache import TTLCache

KEEP_SECONDS: Final = 5.0
OVERALL_SECONDS: Final = 1.5
PROBE_SECONDS: Final = 1.3


@dataclass(frozen=True)
class Probe:
    """One thing the region cannot do without. `run` raises when it is out of order; `of_key` when that is the key."""

    name: str
    run: Callable[[], None]
    of_key: bool = False
    seconds: float = PROBE_SECONDS


@dataclass(frozen=True)
class HealthReport:
    """`failures` maps the name of a failed probe to an error code or type, never to a message."""

    failures: Mapping[str, str]
    key_failures: int
    storage_failures: int

    @property
    def healthy(self) -> bool:
        """Return whether every probe succeeded in time."""
        return not self.failures


class Witness(Protocol):
    """A receiver of health reports."""

    def verdict(self, verdict: HealthReport) -> None: ...


class Health:
    """The region's health. `pool` needs threads to spare for probes that hang beyond their time."""

    def __init__(
        self,
        *,
        probes: Sequence[Probe],
        pool: ThreadPoolExecutor,
        witness: Witness,
        overall_seconds: float = OVERALL_SECONDS,
        keep_seconds: float = KEEP_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probes = probes
        self._pool = pool
        self._witness = witness
        self._overall_seconds = overall_seconds
        self._kept = TTLCache(evaluate=self._evaluate, seconds=keep_seconds, monotonic=monotonic)

    def healthy(self) -> bool:
        """The verdict, at most `keep_seconds` old."""
        return self._kept.get().healthy

    def _evaluate(self) -> HealthReport:
        started = time.monotonic()
        running = [(probe, self._pool.submit(probe.run)) for probe in self._probes]
        failures: dict[str, str] = {}
        key_failures = 0
        for probe, future in running:
            allowed = min(probe.seconds, self._overall_seconds)
            error = _error(future, max(0.0, started + allowed - time.monotonic()))
            if error is not None:
                failures[probe.name] = error.code if isinstance(error, StorageFault) else type(error).__name__
                key_failures += probe.of_key or (isinstance(error, StorageFault) and error.of_key)
        verdict = HealthReport(failures, key_failures, len(failures) - key_failures)
        self._witness.verdict(verdict)
        return verdict


def _error(future: Future[None], seconds: float) -> BaseException | None:
    try:
        return future.exception(timeout=seconds)
    except TimeoutError as late:
        future.cancel()
        return late


def probes(*, clients: Clients, environment: Environment) -> tuple[Probe, ...]:
    """Clients that only the probes need are made by the first of them."""

    def records() -> None:
        with translated("GetItem"):
            clients.dynamodb().get_item(
                TableName=environment.records_table,
                Key=item_key(*HEALTH_PROBE),
                ConsistentRead=True,
            )

    def documents() -> None:
        with translated("HeadBucket"):
            clients.s3().head_bucket(Bucket=environment.documents_bucket)

    def key() -> None:
        with translated("GenerateDataKeyWithoutPlaintext"):
            clients.kms().generate_data_key_without_plaintext(KeyId=environment.key_arn, KeySpec="AES_256")

    return Probe("records", records), Probe("documents", documents), Probe("key", key, of_key=True)


class HealthMetrics:
    """As `health.Witness`: a line for what failed, and metrics."""

    def __init__(self, *, log: StructuredLog) -> None:
        self._log = log

    def verdict(self, verdict: HealthReport) -> None:
        """As `health.Witness`."""
        if not verdict.healthy:
            self._log.error("unhealthy", failures=dict(verdict.failures))
        counts = {"KeyFailures": verdict.key_failures, "StorageFailures": verdict.storage_failures}
        self._log.count({"Healthy": int(verdict.healthy), **{name: n for name, n in counts.items() if n}})

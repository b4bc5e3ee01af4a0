"""Check whether this region can serve.

The check is deep, because each probe uses what a record or a document needs, and bounded in time: Route 53 gives an
endpoint 4 s to connect and 2 s more to respond
(https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from patient_api.aws import Clients, DynamoDB, translated
from patient_api.clock import Clock
from patient_api.contract.functions import HEALTH_SECONDS, Environment
from patient_api.contract.metrics import Metric
from patient_api.errors import StorageFault, WrongClock
from patient_api.logging import StructuredLog
from patient_api.probe import read_probe
from patient_api.ttl_cache import TTLCache

OVERALL_SECONDS: Final = 1.5
PROBE_SECONDS: Final = 1.3


@dataclass(frozen=True)
class Probe:
    """A check of one service that the region depends on.

    `run` raises when the service fails. `of_key` marks the probe of the KMS key. `seconds` limits the probe.
    """

    name: str
    run: Callable[[], None]
    of_key: bool = False
    seconds: float = PROBE_SECONDS


@dataclass(frozen=True)
class HealthReport:
    """The result of all probes. `failures` has an error code or type, never a message, by the name of the probe.

    `wrong_clock` is why this process may issue no version, None while it may.
    """

    failures: Mapping[str, str]
    key_failures: int
    storage_failures: int
    wrong_clock: WrongClock | None = None

    @property
    def healthy(self) -> bool:
        """Return whether every probe succeeded in time."""
        return not self.failures


class Health:
    """The region's health. `publish` receives each new report.

    `pool` needs threads to spare for probes that hang beyond their time limit.
    """

    def __init__(
        self,
        *,
        probes: Sequence[Probe],
        pool: ThreadPoolExecutor,
        publish: Callable[[HealthReport], None],
        overall_seconds: float = OVERALL_SECONDS,
        keep_seconds: float = HEALTH_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probes = probes
        self._pool = pool
        self._publish = publish
        self._overall_seconds = overall_seconds
        self._report = TTLCache(evaluate=self._evaluate, seconds=keep_seconds, monotonic=monotonic)

    def healthy(self) -> bool:
        """Return whether the region is healthy, by a report that is at most `keep_seconds` old."""
        return self._report.get().healthy

    def _evaluate(self) -> HealthReport:
        started = time.monotonic()
        running = [(probe, self._pool.submit(probe.run)) for probe in self._probes]
        failures: dict[str, str] = {}
        key_failures = 0
        wrong_clock: WrongClock | None = None
        for probe, future in running:
            limit = min(probe.seconds, self._overall_seconds)
            error = _error(future, max(0.0, started + limit - time.monotonic()))
            if error is not None:
                failures[probe.name] = error.code if isinstance(error, StorageFault) else type(error).__name__
                key_failures += probe.of_key or (isinstance(error, StorageFault) and error.of_key)
                wrong_clock = error if isinstance(error, WrongClock) else wrong_clock
        storage_failures = len(failures) - key_failures - (wrong_clock is not None)
        report = HealthReport(failures, key_failures, storage_failures, wrong_clock)
        self._publish(report)
        return report


def _error(future: Future[None], seconds: float) -> BaseException | None:
    try:
        return future.exception(timeout=seconds)
    except TimeoutError as timeout:
        future.cancel()
        return timeout


def probes(
    *, clients: Clients, environment: Environment, dynamodb: Callable[[], DynamoDB], clock: Clock
) -> tuple[Probe, ...]:
    """Return the probes of the records table, the documents bucket and the KMS key.

    Clients are created when a probe first runs. `clock` is checked after the read, which measures the time: a process
    that may issue no version cannot serve.
    """

    def read_records() -> None:
        read_probe(dynamodb(), environment.records_table)
        clock.check()

    def read_documents() -> None:
        with translated("HeadBucket"):
            clients.s3().head_bucket(Bucket=environment.documents_bucket)

    def use_key() -> None:
        with translated("GenerateDataKeyWithoutPlaintext"):
            clients.kms().generate_data_key_without_plaintext(KeyId=environment.key_arn, KeySpec="AES_256")

    return Probe("records", read_records), Probe("documents", read_documents), Probe("key", use_key, of_key=True)


def publish(report: HealthReport, *, log: StructuredLog) -> None:
    """Log what failed and a wrong clock, and publish `Healthy`, and the counts of failures that are not 0."""
    if not report.healthy:
        log.error("unhealthy", failures=dict(report.failures))
    metrics: dict[str, float] = {Metric.HEALTHY: int(report.healthy)}
    if report.key_failures:
        metrics[Metric.KEY_FAILURES] = report.key_failures
    if report.storage_failures:
        metrics[Metric.STORAGE_FAILURES] = report.storage_failures
    if report.wrong_clock is not None:
        log.error("wrong clock", ahead_ms=report.wrong_clock.ahead_ms)
        metrics[Metric.WRONG_CLOCK] = 1
    log.count(metrics, ahead_ms=report.wrong_clock.ahead_ms if report.wrong_clock else None)

"""The health check."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

import pytest

from patient_api.aws import Clients, translated
from patient_api.bootstrap import Services
from patient_api.clock import Clock
from patient_api.errors import StorageFault, WrongClock
from patient_api.logging import StructuredLog
from patient_api.region.health import Health, HealthReport, Probe, probes, publish
from unit.patient_api.fakes.api import Platform
from unit.patient_api.fakes.aws import ENVIRONMENT, REGION, START_MS, FakeClients, FakeDynamoDB
from unit.patient_api.fakes.log import FakeLog


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def ignore(_report: HealthReport) -> None:
    return None


def works() -> None:
    return None


def fails_with(error: Exception) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


def test_healthy_region_returns_200() -> None:
    platform = Platform(probes=(Probe("records", works), Probe("key", works)))
    reply = platform.call("GET", "/health", authorizer={})
    assert (reply.status, reply.body) == (200, '{"status":"healthy"}')
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert platform.log.metrics() == {"Healthy": 1.0}
    platform.close()


@pytest.mark.requirement("R6.2", "C5")
def test_unhealthy_region_returns_503_and_logs_the_failures() -> None:
    fault = StorageFault(operation="GetItem", code="InternalServerError")
    platform = Platform(
        probes=(
            Probe("records", fails_with(fault)),
            Probe("documents", works),
            Probe("key", fails_with(ValueError("secret")), of_key=True),
        )
    )
    reply = platform.call("GET", "/health", authorizer={})
    assert (reply.status, reply.body) == (503, '{"status":"unhealthy"}')
    assert reply.headers["cache-control"] == "no-store"
    (line,) = [line for line in platform.log.messages() if line["message"] == "unhealthy"]
    assert line["failures"] == {"records": "InternalServerError", "key": "ValueError"}
    assert "secret" not in platform.log.getvalue()
    assert platform.log.metrics() == {"Healthy": 0.0, "KeyFailures": 1.0, "StorageFailures": 1.0}
    platform.close()


@pytest.mark.trap(24)
def test_probes_run_in_parallel_and_time_out(pool: ThreadPoolExecutor) -> None:
    release, ended = threading.Event(), threading.Event()
    reports: list[HealthReport] = []

    def hangs() -> None:
        release.wait(60)
        ended.set()

    health = Health(
        probes=[Probe("records", hangs), Probe("documents", hangs), Probe("key", works)],
        pool=pool,
        publish=reports.append,
    )
    assert not health.healthy()
    assert not ended.is_set()
    release.set()
    assert dict(reports[0].failures) == {"records": "TimeoutError", "documents": "TimeoutError"}


@pytest.mark.trap(24)
def test_probe_has_its_own_time_limit(pool: ThreadPoolExecutor) -> None:
    release, ended = threading.Event(), threading.Event()

    def hangs() -> None:
        release.wait(60)
        ended.set()

    health = Health(probes=[Probe("slow", hangs, seconds=0.05)], pool=pool, publish=ignore, overall_seconds=600.0)
    assert not health.healthy()
    assert not ended.is_set()
    release.set()


@pytest.mark.trap(24)
def test_report_is_cached_for_five_seconds(pool: ThreadPoolExecutor) -> None:
    now = 100.0
    runs: list[None] = []
    reports: list[HealthReport] = []
    health = Health(
        probes=[Probe("records", lambda: runs.append(None))], pool=pool, publish=reports.append, monotonic=lambda: now
    )
    assert health.healthy()
    now += 4.9
    assert health.healthy()
    assert len(runs) == 1
    now += 0.2
    assert health.healthy()
    assert len(runs) == len(reports) == 2


def test_concurrent_calls_share_one_evaluation(pool: ThreadPoolExecutor) -> None:
    runs: list[None] = []

    def slow() -> None:
        runs.append(None)
        time.sleep(0.1)

    health = Health(probes=[Probe("records", slow)], pool=pool, publish=ignore)
    with ThreadPoolExecutor(8) as callers:
        results = [callers.submit(health.healthy) for _ in range(32)]
    assert all(one.result() for one in results)
    assert len(runs) == 1


def test_probes_call_table_bucket_and_key() -> None:
    dynamodb = FakeDynamoDB()
    clients = FakeClients(dynamodb)
    records, documents, key = probes(
        clients=cast("Clients", clients),
        environment=ENVIRONMENT,
        dynamodb=clients.dynamodb,
        clock=Clock(region=REGION, now_ms=lambda: START_MS),
    )
    records.run()
    key.run()
    with pytest.raises(StorageFault) as missing:
        documents.run()
    assert missing.value.code == "404"
    assert [operation for operation, _ in dynamodb.calls] == ["get_item"]
    assert clients.kms().data_keys == 1
    assert [probe.of_key for probe in (records, documents, key)] == [False, False, True]


@pytest.mark.requirement("C1", "C2")
def test_region_with_a_wrong_clock_is_unhealthy() -> None:
    platform = Platform()
    platform.ahead_ms = 7_000
    reply = platform.call("GET", "/health", authorizer={})
    assert reply.status == 503
    (line,) = [line for line in platform.log.messages() if line["message"] == "unhealthy"]
    assert line["failures"]["records"] == "WrongClock"
    (line,) = [line for line in platform.log.messages() if line["message"] == "wrong clock"]
    assert line["ahead_ms"] > 5_000
    # The bucket of the fakes does not exist.
    assert platform.log.metrics() == {"Healthy": 0.0, "StorageFailures": 1.0, "WrongClock": 1.0}
    platform.close()


def test_function_without_a_bound_for_its_clock_is_not_composed() -> None:
    clients = cast("Clients", FakeClients(FakeDynamoDB()))
    log = StructuredLog(service="patient-api", region=REGION, stream=FakeLog())
    services = Services(environment=replace(ENVIRONMENT, clock_bound=None), clients=clients, log=log)
    with pytest.raises(KeyError, match="CLOCK_BOUND_SECONDS"):
        _ = services.clock


def test_metrics_of_a_wrong_clock_have_the_right_time() -> None:
    stream = FakeLog()
    log = StructuredLog(service="patient-api", region=REGION, stream=stream, now=lambda: 1_000.0)
    publish(HealthReport({"records": "WrongClock"}, 0, 0, WrongClock(ahead_ms=7_000)), log=log)
    publish(HealthReport({"records": "WrongClock"}, 0, 0, WrongClock(ahead_ms=None)), log=log)
    times = [line["_aws"]["Timestamp"] for line in stream.lines() if "_aws" in line]
    assert times == [993_000, 1_000_000]
    assert stream.metrics() == {"Healthy": 0.0, "WrongClock": 2.0}


def test_other_exceptions_are_not_translated() -> None:
    with pytest.raises(ZeroDivisionError), translated("GetItem"):
        raise ZeroDivisionError

"""The data plane of Route 53: follow zones and checks, probe endpoints, and answer DNS queries, in one event loop.

As Route 53 does, it publishes the status of health checks to CloudWatch in us-east-1 only.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random, SystemRandom
from typing import Any

from healthcare_dr.emulator.route53.answers import Answers
from healthcare_dr.emulator.route53.check_status import ProbeResults
from healthcare_dr.emulator.route53.dns_server import DnsServer
from healthcare_dr.emulator.route53.health_checkers import Checkers, loopback_only
from healthcare_dr.emulator.route53.model import (
    CheckConfig,
    CheckStatus,
    Record,
    Snapshot,
    Zone,
    checker_regions,
    endpoint_of,
    plain_name,
)
from healthcare_dr.errors import EmulatorError

Finding = tuple[str, bool, float | None]
"""A check's id, whether it is healthy, and the share of its healthy checkers (0 to 1; None without checkers)."""

NAMESPACE = "AWS/Route53"
# PutMetricData accepts 1,000 values; 100 are far below its limit of bytes.
PER_CALL = 100

# Route 53 takes up to 60 s to propagate a change. Reading all zones and checks costs some 20 ms.
FOLLOW_SECONDS = 4.0
PUBLISH_SECONDS = 10.0

logger = logging.getLogger(__name__)


class DataPlane:
    """The parts of Route 53 that do not depend on its control plane.

    Args:
        read: returns the present zones and checks; may raise.
        edge_addresses: the address of each region's edge listener.
        publish: publishes the status of checks to CloudWatch.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Snapshot],
        edge_addresses: Mapping[str, str],
        edge_port: int,
        dns_address: str,
        dns_port: int,
        time_scale: Callable[[], float],
        publish: Callable[[Sequence[Finding]], None] | None = None,
        random: Random | None = None,
    ) -> None:
        self._read = read
        self._publish = publish
        self._time_scale = time_scale
        self._dns = (dns_address, dns_port)
        self._connect = loopback_only(edge_addresses, edge_port)
        self._results = ProbeResults(lambda: checker_regions(time_scale()))
        self._snapshot = Snapshot()
        self._answers = Answers(
            snapshot=lambda: self._snapshot,
            healthy=lambda: self._results.health(self._snapshot.checks),
            edge_addresses=edge_addresses,
            time_scale=time_scale,
            random=random or SystemRandom(),
        )
        self._checkers = Checkers(results=self._results, connect=self._connect, time_scale=time_scale)
        self._server = DnsServer(
            reply=lambda packet, udp: self._answers.reply(packet, udp=udp), address=dns_address, port=dns_port
        )
        # Not the loop's own executor: at the end, the loop would wait for a call that hangs.
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="route53")
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start to answer DNS queries, follow zones and checks, and probe.

        Raises:
            EmulatorError: the DNS port is taken.
        """
        try:
            await self._server.start()
        except OSError as error:
            address, port = self._dns
            raise EmulatorError(
                f"DNS cannot listen on {address}:{port} ({error.strerror}): choose another port"
            ) from None
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._publish_findings())]

    async def stop(self) -> None:
        """End everything. Does nothing when it does not run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._checkers.stop()
        await self._server.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def checks(self) -> dict[str, CheckStatus]:
        """Return the status of every check by id."""
        return self._results.statuses(self._snapshot.checks)

    def zone_targets(self) -> dict[str, dict[str, str]]:
        """Return the API behind each shared name in each region: name → region → API id."""
        found: dict[str, dict[str, str]] = {}
        for record in (record for zone in self._snapshot.zones for record in zone.records if record.type == "CNAME"):
            for endpoint in map(endpoint_of, record.values):
                if endpoint:
                    found.setdefault(record.name, {})[endpoint[1]] = endpoint[0]
        return found

    async def _follow(self) -> None:
        failed = False
        while True:
            try:
                self._snapshot = await asyncio.get_running_loop().run_in_executor(self._threads, self._read)
                failed = False
            except Exception as error:  # noqa: BLE001 - after any failure, the last snapshot is used
                if not failed:
                    logger.warning(
                        "The API of Route 53 cannot be read, its last state is used: %s", type(error).__name__
                    )
                failed = True
            self._checkers.follow(self._snapshot.checks)
            await asyncio.sleep(FOLLOW_SECONDS)

    async def _publish_findings(self) -> None:
        while self._publish is not None:
            await asyncio.sleep(PUBLISH_SECONDS / self._time_scale())
            findings = [(check_id, status.healthy, status.share) for check_id, status in self.checks().items()]
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._publish, findings)
            except Exception as error:  # noqa: BLE001 - health does not depend on metrics
                logger.warning("The findings of the health checks were not published: %s", type(error).__name__)


def publisher(client: Any) -> Callable[[Sequence[Finding]], None]:
    """Return a function that publishes findings with `client`, boto3's for CloudWatch in us-east-1."""

    def publish(findings: Sequence[Finding]) -> None:
        data = [datum for finding in findings for datum in _data(finding)]
        for start in range(0, len(data), PER_CALL):
            client.put_metric_data(Namespace=NAMESPACE, MetricData=data[start : start + PER_CALL])

    return publish


def _data(finding: Finding) -> list[dict[str, object]]:
    check_id, healthy, share = finding
    dimensions = [{"Name": "HealthCheckId", "Value": check_id}]
    values = [("HealthCheckStatus", float(healthy), "None")]
    if share is not None:
        values.append(("HealthCheckPercentageHealthy", share * 100, "Percent"))
    return [
        {"MetricName": name, "Dimensions": dimensions, "Value": value, "Unit": unit} for name, value, unit in values
    ]


class ZoneReader:
    """Reads the present snapshot when called. Raises the errors of botocore.

    Args:
        client: boto3's client for Route 53.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._names: dict[str, str] = {}

    def __call__(self) -> Snapshot:
        """Return all zones and checks, from all pages."""
        zones = tuple(
            Zone(id=zone["Id"], name=plain_name(zone["Name"]), records=tuple(self._records(zone["Id"])))
            for zone in self._pages("list_hosted_zones", "HostedZones")
            if not zone.get("Config", {}).get("PrivateZone")  # visible only inside its networks
        )
        found = list(self._pages("list_health_checks", "HealthChecks"))
        # Terraform adds the tags after it has created a check: a missing name is read again.
        self._names = {check["Id"]: self._names.get(check["Id"]) or self._name(check["Id"]) for check in found}
        checks = (check_of(check["Id"], self._names[check["Id"]], check["HealthCheckConfig"]) for check in found)
        return Snapshot(zones=zones, checks={check.id: check for check in checks})

    def _pages(self, operation: str, key: str, **arguments: str) -> Iterator[Any]:
        for page in self._client.get_paginator(operation).paginate(**arguments):
            yield from page[key]

    def _records(self, zone_id: str) -> Iterator[Record]:
        for found in self._pages("list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone_id):
            # An alias record has no values; the platform has none.
            if "ResourceRecords" in found:
                yield record_of(found)

    def _name(self, check_id: str) -> str:
        answer = self._client.list_tags_for_resource(ResourceType="healthcheck", ResourceId=check_id)
        return next((str(tag["Value"]) for tag in answer["ResourceTagSet"]["Tags"] if tag["Key"] == "Name"), "")


def record_of(found: Mapping[str, Any]) -> Record:
    """Return the record of a `ResourceRecordSet` of the API."""
    return Record(
        name=plain_name(found["Name"]),
        type=found["Type"],
        ttl=int(found["TTL"]),
        values=tuple(value["Value"] for value in found["ResourceRecords"]),
        set_identifier=found.get("SetIdentifier"),
        weight=found.get("Weight"),
        check_id=found.get("HealthCheckId"),
    )


def check_of(check_id: str, name: str, config: Mapping[str, Any]) -> CheckConfig:
    """Return the check of a `HealthCheckConfig` of the API; `name` is from its tag."""
    return CheckConfig(
        id=check_id,
        type=config["Type"],
        name=name,
        host=config.get("FullyQualifiedDomainName", ""),
        ip=config.get("IPAddress"),
        port=config.get("Port", 443 if config["Type"].startswith("HTTPS") else 80),
        path=config.get("ResourcePath") or "/",
        interval=config.get("RequestInterval", 30),
        threshold=config.get("FailureThreshold", 3),
        inverted=config.get("Inverted", False),
        sni=config.get("EnableSNI", False),
        search=config.get("SearchString"),
        children=tuple(config.get("ChildHealthChecks", ())),
        child_threshold=config.get("HealthThreshold", 0),
        disabled=config.get("Disabled", False),
    )

"""Observe health checks, DNS and replication while a drill runs.

On AWS, health checks are read from CloudWatch. `GetHealthCheckStatus` would be closer to the checkers, but belongs to
Route 53's control plane, is not meant for frequent calls, and does not support calculated checks. The metric is
published once a minute and some minutes late, in us-east-1 only: statuses are coarse, and missing when us-east-1 does
not respond. The functions for AWS have not run against AWS. They are tested with botocore's stubs.
"""

import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from healthcare_dr.errors import DeploymentError, HealthcareDrError
from healthcare_dr.naming import Names
from healthcare_dr.ops.drill.journal import Event, Observation
from healthcare_dr.ops.drill.load.ledger import Endpoint
from healthcare_dr.ops.drill.self_monitor import Recorder
from healthcare_dr.ops.ports import EmbeddedAws

PERIOD_SECONDS: Final = 1.0
"""In real time: an observation costs the embedded AWS a connection and eight DNS answers."""
SHORTEST_PERIOD_SECONDS: Final = 0.5
CLOUDWATCH_PERIOD_SECONDS: Final = 10.0
STALE_SECONDS: Final = 180.0
LOOK_BACK: Final = timedelta(minutes=5)
HTTPS: Final = 443
DNS: Final = 53
TAGS_AT_ONCE: Final = 10


class Monitors(Recorder[Observation]):
    """Observes health checks, DNS and replication, more often when the drill runs faster.

    A source that does not respond is missing in that observation.
    """

    def __init__(
        self,
        *,
        checks: Callable[[], Mapping[str, bool]],
        dns: Callable[[], Mapping[str, int] | None],
        lag: Callable[[], Mapping[str, float]],
        clock: Callable[[], float],
        time_scale: float,
    ) -> None:
        super().__init__("monitors", period=max(SHORTEST_PERIOD_SECONDS, PERIOD_SECONDS / time_scale))
        self._checks, self._dns, self._lag, self._clock = checks, dns, lag, clock

    def observations(self) -> tuple[Observation, ...]:
        """Return all observations so far, in order."""
        return tuple(self._recorded)

    def _read(self) -> Observation:
        at = self._clock()
        try:
            checks = dict(self._checks())
        except HealthcareDrError:
            checks = {}
        return Observation(at=at, checks=checks, dns=dict(self._dns() or {}), lag=dict(self._lag()))


def changes(observations: tuple[Observation, ...]) -> list[Event]:
    """Return an event for each time at which a health check changed its status."""
    events, statuses = [], dict[str, bool]()
    for seen in observations:
        for name, healthy in seen.checks.items():
            if statuses.get(name, healthy) != healthy:
                text = f"{name} is {'healthy' if healthy else 'unhealthy'}"
                events.append(Event(at=seen.at, kind="check", text=text, region=name.rpartition(" ")[2]))
            statuses[name] = healthy
    return events


def check_names(names: Names, regions: tuple[str, str]) -> dict[str, str]:
    """Return `endpoint <region>`, `drain <region>` and `health <region>` by the names of the deployed health checks."""
    found: dict[str, str] = {}
    for role, region in zip(("primary", "secondary"), regions, strict=True):
        found |= {names.of(f"{kind}-{role}"): f"{kind} {region}" for kind in ("endpoint", "drain")}
        found[names.of("health", region)] = f"health {region}"
    return found


def embedded_checks(emulator: EmbeddedAws, names: Mapping[str, str]) -> dict[str, bool]:
    """Return whether each health check of the embedded AWS is healthy; `names` are those of `check_names`."""
    return {names[check.name]: check.healthy for check in emulator.health_checks().values() if check.name in names}


def in_background(task: Callable[[], None]) -> None:
    """Run a task on a thread of its own."""
    threading.Thread(target=task, name="checks", daemon=True).start()


class CloudWatchChecks:
    """The status of health checks, read in the background every 10 s so that observations do not wait for CloudWatch.

    `checks` maps health check ids to names; `cloudwatch` is a client of us-east-1. A response is valid for 180 s.
    """

    def __init__(
        self,
        *,
        cloudwatch: Any,
        checks: Mapping[str, str],
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        run: Callable[[Callable[[], None]], None] = in_background,
    ) -> None:
        self._cloudwatch, self._checks = cloudwatch, dict(checks)
        self._clock, self._now, self._run = clock, now, run
        self._requested_at: float | None = None
        self._read: tuple[float, Mapping[str, bool]] | None = None
        self._reading = threading.Lock()

    def __call__(self) -> Mapping[str, bool]:
        """Return whether each check was healthy in the last minute with data. Checks without data are absent."""
        now = self._clock()
        due = self._requested_at is None or now - self._requested_at >= CLOUDWATCH_PERIOD_SECONDS
        if due and self._reading.acquire(blocking=False):
            self._requested_at = now
            self._run(self._request)
        read = self._read
        return read[1] if read is not None and now - read[0] <= STALE_SECONDS else {}

    def _request(self) -> None:
        try:
            self._read = self._clock(), self._statuses()
        except (BotoCoreError, ClientError):
            pass  # The checks are absent from the observation.
        finally:
            self._reading.release()

    def _statuses(self) -> dict[str, bool]:
        end, names = self._now(), list(self._checks.items())
        answer = self._cloudwatch.get_metric_data(
            MetricDataQueries=[
                {
                    "Id": f"check{number}",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/Route53",
                            "MetricName": "HealthCheckStatus",
                            "Dimensions": [{"Name": "HealthCheckId", "Value": check}],
                        },
                        "Period": 60,
                        "Stat": "Minimum",
                    },
                }
                for number, (check, _) in enumerate(names)
            ],
            StartTime=end - LOOK_BACK,
            EndTime=end,
        )
        newest = {
            result["Id"]: max(zip(result["Timestamps"], result["Values"], strict=True))[1]
            for result in answer["MetricDataResults"]
            if result["Values"]
        }
        statuses = {name: newest.get(f"check{number}") for number, (_, name) in enumerate(names)}
        return {name: value >= 1 for name, value in statuses.items() if value is not None}


def health_checks(route53: Any, names: Names, regions: tuple[str, str]) -> dict[str, str]:
    """Return the names of `check_names` by the ids of the health checks.

    Raises:
        DeploymentError: Route 53 does not respond, or one of the six is missing.
    """
    wanted, found = check_names(names, regions), dict[str, str]()
    try:
        pages = route53.get_paginator("list_health_checks").paginate()
        ids = [check["Id"] for page in pages for check in page["HealthChecks"]]
        for begin in range(0, len(ids), TAGS_AT_ONCE):
            answer = route53.list_tags_for_resources(
                ResourceType="healthcheck", ResourceIds=ids[begin : begin + TAGS_AT_ONCE]
            )
            for tagged in answer["ResourceTagSets"]:
                name = {tag["Key"]: tag["Value"] for tag in tagged["Tags"]}.get("Name", "")
                if name in wanted:
                    found[tagged["ResourceId"]] = wanted[name]
    except (BotoCoreError, ClientError) as error:
        raise DeploymentError(f"Route 53's health checks cannot be listed: {' '.join(str(error).split())}") from error
    if missing := sorted(set(wanted.values()) - set(found.values())):
        raise DeploymentError(f"Route 53 has no health check for {', '.join(missing)}: deploy first (`hdr deploy`)")
    return found


def endpoints(
    hosts: Mapping[str, str], *, address_of: Callable[[str], str] = socket.gethostbyname
) -> dict[str, Endpoint]:
    """Return each region's own endpoint. The address is looked up once for the whole drill.

    Raises:
        DeploymentError: a host name has no address.
    """
    found = {}
    for region, host in hosts.items():
        try:
            found[region] = Endpoint(region=region, host=host, address=address_of(host), port=HTTPS)
        except OSError as error:
            raise DeploymentError(f"{host} has no address: is the API of {region} still there?") from error
    return found


def system_resolver() -> tuple[str, int]:
    """Return the address and port of this machine's resolver.

    Raises:
        DeploymentError: the machine has none that is reached over UDP.
    """
    import dns.exception
    import dns.resolver

    try:
        servers = dns.resolver.Resolver().nameservers
    except dns.exception.DNSException as error:
        raise DeploymentError("this machine has no DNS resolver: set one in /etc/resolv.conf") from error
    plain = [server for server in servers if isinstance(server, str) and "/" not in server]
    if not plain:
        raise DeploymentError("this machine has no DNS resolver over UDP: set one in /etc/resolv.conf")
    return plain[0], DNS

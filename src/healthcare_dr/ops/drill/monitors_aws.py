"""Monitor a drill on AWS. Not run against AWS; tested with stand-ins.

Health checks are read from CloudWatch. `GetHealthCheckStatus` would be closer to the checkers, but belongs to Route
53's control plane, is not meant for frequent calls, and does not support calculated checks. The metric is published
once a minute and some minutes late, in us-east-1 only: statuses are coarse, and missing when us-east-1 does not
respond.
"""

import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.drill.load.ledger import Endpoint

METRICS_REGION: Final = "us-east-1"  # Route 53 publishes nowhere else (trap 22).
EVERY_SECONDS: Final = 10.0
STALE_SECONDS: Final = 180.0
LOOK_BACK: Final = timedelta(minutes=5)
HTTPS: Final = 443
DNS: Final = 53
TAGS_AT_ONCE: Final = 10


def in_background(task: Callable[[], None]) -> None:
    """Run it on a thread of its own."""
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
        self._asked: float | None = None
        self._known: tuple[float, Mapping[str, bool]] | None = None
        self._asking = threading.Lock()

    def __call__(self) -> Mapping[str, bool]:
        """Return whether each check was healthy in the last minute with data, by name; without checks that have no
        data.
        """
        now = self._clock()
        due = self._asked is None or now - self._asked >= EVERY_SECONDS
        if due and self._asking.acquire(blocking=False):
            self._asked = now
            self._run(self._ask)
        known = self._known
        return known[1] if known is not None and now - known[0] <= STALE_SECONDS else {}

    def _ask(self) -> None:
        try:
            self._known = self._clock(), self._verdicts()
        except (BotoCoreError, ClientError):
            pass  # What cannot be asked is missing from what was seen.
        finally:
            self._asking.release()

    def _verdicts(self) -> dict[str, bool]:
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
        told = {name: newest.get(f"check{number}") for number, (_, name) in enumerate(names)}
        return {name: value >= 1 for name, value in told.items() if value is not None}


def health_checks(route53: Any, names: Names, regions: tuple[str, str]) -> dict[str, str]:
    """Return `endpoint <region>`, `drain <region>` and `health <region>` by the ids of the health checks.

    Raises:
        DeploymentError: Route 53 does not respond, or one of the six is missing.
    """
    told: dict[str, str] = {}
    for role, region in zip(("primary", "secondary"), regions, strict=True):
        told |= {names.of(f"{kind}-{role}"): f"{kind} {region}" for kind in ("endpoint", "drain")}
        told[names.of("health", region)] = f"health {region}"
    found: dict[str, str] = {}
    try:
        pages = route53.get_paginator("list_health_checks").paginate()
        ids = [check["Id"] for page in pages for check in page["HealthChecks"]]
        for begin in range(0, len(ids), TAGS_AT_ONCE):
            answer = route53.list_tags_for_resources(
                ResourceType="healthcheck", ResourceIds=ids[begin : begin + TAGS_AT_ONCE]
            )
            for tagged in answer["ResourceTagSets"]:
                name = {tag["Key"]: tag["Value"] for tag in tagged["Tags"]}.get("Name", "")
                if name in told:
                    found[tagged["ResourceId"]] = told[name]
    except (BotoCoreError, ClientError) as error:
        raise DeploymentError(f"Route 53's health checks cannot be listed: {_line(error)}") from error
    if missing := sorted(set(told.values()) - set(found.values())):
        raise DeploymentError(f"Route 53 has no health check for {', '.join(missing)}: deploy first (`hdr deploy`)")
    return found


def endpoints(
    hosts: Mapping[str, str], *, address_of: Callable[[str], str] = socket.gethostbyname
) -> dict[str, Endpoint]:
    """Each region's own endpoint, by region; the address is looked up once, for the length of a drill.

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
        DeploymentError: it has none that is reached over UDP.
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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

"""The monitors on AWS, with boto3 clients whose requests and responses are checked against the service models."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import dns.resolver
import pytest
from botocore.stub import Stubber

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.drill.monitors import (
    CloudWatchChecks,
    endpoints,
    health_checks,
    in_background,
    system_resolver,
)

EAST, WEST = REGIONS = ("us-east-1", "us-west-2")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = Names("it")


def stubbed(service: str) -> tuple[Any, Stubber]:
    client = boto3.client(service, region_name=EAST, aws_access_key_id="a", aws_secret_access_key="b")
    stub = Stubber(client)
    stub.activate()
    return client, stub


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(*values: list[float]) -> dict[str, Any]:
    """Return a response with the values of each check, newest first, a minute apart; CloudWatch promises no order."""
    return {
        "MetricDataResults": [
            {
                "Id": f"check{number}",
                "Timestamps": [NOW - timedelta(minutes=age) for age in reversed(range(len(value)))],
                "Values": value[::-1],
            }
            for number, value in enumerate(values)
        ]
    }


def checks(
    client: Any, clock: Clock, run: Callable[[Callable[[], None]], None] = lambda task: task()
) -> CloudWatchChecks:
    names = {"id-1": f"endpoint {EAST}", "id-2": f"health {EAST}", "id-3": f"drain {WEST}"}
    return CloudWatchChecks(cloudwatch=client, checks=names, clock=clock, now=lambda: NOW, run=run)


@pytest.mark.trap(22)
def test_status_is_the_newest_minute_of_the_metric() -> None:
    client, stub = stubbed("cloudwatch")
    queries = [
        {
            "Id": f"check{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/Route53",
                    "MetricName": "HealthCheckStatus",
                    "Dimensions": [{"Name": "HealthCheckId", "Value": f"id-{number + 1}"}],
                },
                "Period": 60,
                "Stat": "Minimum",
            },
        }
        for number in range(3)
    ]
    stub.add_response(
        "get_metric_data",
        answer([0.0, 1.0], [1.0], []),
        {
            "MetricDataQueries": queries,
            "StartTime": datetime(2026, 1, 2, 2, 59, 5, tzinfo=UTC),
            "EndTime": NOW,
        },
    )
    found = checks(client, Clock())()
    assert found == {f"endpoint {EAST}": False, f"health {EAST}": True}


def test_cloudwatch_is_read_every_ten_seconds_and_a_response_expires() -> None:
    client, stub = stubbed("cloudwatch")
    clock = Clock()
    read = checks(client, clock)
    stub.add_response("get_metric_data", answer([1.0], [], []))
    assert read() == {f"endpoint {EAST}": True}
    clock.now = 9.9
    assert read() == {f"endpoint {EAST}": True}
    clock.now = 10.0
    stub.add_response("get_metric_data", answer([0.0], [], []))
    assert read() == {f"endpoint {EAST}": False}
    stub.add_client_error("get_metric_data", "ServiceUnavailable")
    clock.now = 190.0
    assert read() == {f"endpoint {EAST}": False}
    stub.add_client_error("get_metric_data", "ServiceUnavailable")
    clock.now = 200.1
    assert read() == {}
    stub.assert_no_pending_responses()


def test_observations_do_not_wait_for_cloudwatch() -> None:
    client, stub = stubbed("cloudwatch")
    clock, waiting = Clock(), list[Callable[[], None]]()
    read = checks(client, clock, waiting.append)
    assert read() == {}
    clock.now = 60.0
    assert read() == {}
    assert len(waiting) == 1, "a second request was sent before the first one ended"
    stub.add_response("get_metric_data", answer([1.0], [1.0], [1.0]))
    waiting.pop()()
    assert read() == {f"endpoint {EAST}": True, f"health {EAST}": True, f"drain {WEST}": True}
    assert len(waiting) == 1


def test_background_is_another_thread() -> None:
    done, seen = threading.Event(), list[str]()

    def task() -> None:
        seen.append(threading.current_thread().name)
        done.set()

    in_background(task)
    assert done.wait(5)
    assert seen == ["checks"]


def listed(stub: Stubber, names: list[str]) -> None:
    checks = [
        {
            "Id": f"id-{number}",
            "CallerReference": "r",
            "HealthCheckConfig": {"Type": "HTTPS"},
            "HealthCheckVersion": 1,
        }
        for number in range(len(names))
    ]
    stub.add_response(
        "list_health_checks", {"HealthChecks": checks, "Marker": "", "IsTruncated": False, "MaxItems": "100"}
    )
    for begin in range(0, len(names), 10):
        ids = [f"id-{number}" for number in range(len(names))][begin : begin + 10]
        tags = [
            {
                "ResourceType": "healthcheck",
                "ResourceId": f"id-{number}",
                "Tags": [{"Key": "Other", "Value": "x"}, {"Key": "Name", "Value": names[number]}],
            }
            for number in range(begin, begin + len(ids))
        ]
        stub.add_response(
            "list_tags_for_resources",
            {"ResourceTagSets": tags},
            {"ResourceType": "healthcheck", "ResourceIds": ids},
        )


OURS = [
    "healthcare-dr-endpoint-primary-it",
    "healthcare-dr-drain-primary-it",
    "healthcare-dr-health-us-east-1-it",
    "healthcare-dr-endpoint-secondary-it",
    "healthcare-dr-drain-secondary-it",
    "healthcare-dr-health-us-west-2-it",
]


def test_health_checks_are_found_among_others() -> None:
    client, stub = stubbed("route53")
    listed(stub, [*(f"other-{number}" for number in range(9)), *OURS])
    assert health_checks(client, NAMES, REGIONS) == {
        "id-9": f"endpoint {EAST}",
        "id-10": f"drain {EAST}",
        "id-11": f"health {EAST}",
        "id-12": f"endpoint {WEST}",
        "id-13": f"drain {WEST}",
        "id-14": f"health {WEST}",
    }


def test_missing_health_check_is_an_error() -> None:
    client, stub = stubbed("route53")
    listed(stub, OURS[:-1])
    with pytest.raises(DeploymentError, match=f"Route 53 has no health check for health {WEST}: deploy first"):
        health_checks(client, NAMES, REGIONS)


def test_error_of_route53_is_reported_in_one_line() -> None:
    client, stub = stubbed("route53")
    stub.add_client_error("list_health_checks", "Throttling", "Rate\nexceeded")
    with pytest.raises(DeploymentError, match=r"cannot be listed: .*Rate exceeded"):
        health_checks(client, NAMES, REGIONS)


def test_each_region_has_its_own_endpoint() -> None:
    found = endpoints(
        {EAST: "a.invalid", WEST: "b.invalid"},
        address_of={"a.invalid": "192.0.2.1", "b.invalid": "192.0.2.2"}.__getitem__,
    )
    assert {(end.region, end.host, end.address, end.port) for end in found.values()} == {
        (EAST, "a.invalid", "192.0.2.1", 443),
        (WEST, "b.invalid", "192.0.2.2", 443),
    }

    def nothing(host: str) -> str:
        raise OSError(host)

    with pytest.raises(DeploymentError, match=f"a.invalid has no address: is the API of {EAST} still there"):
        endpoints({EAST: "a.invalid"}, address_of=nothing)


def test_resolver_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Machine:
        nameservers: tuple[str, ...] = ("https://resolver.invalid/dns-query", "192.0.2.53")

    monkeypatch.setattr(dns.resolver, "Resolver", Machine)
    assert system_resolver() == ("192.0.2.53", 53)
    Machine.nameservers = ("https://resolver.invalid/dns-query",)
    with pytest.raises(DeploymentError, match="no DNS resolver over UDP"):
        system_resolver()

    def none() -> Machine:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver, "Resolver", none)
    with pytest.raises(DeploymentError, match=r"set one in /etc/resolv\.conf"):
        system_resolver()

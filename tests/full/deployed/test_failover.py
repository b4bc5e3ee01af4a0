"""Failover as DNS decides it: a region fails in one way, the deployed health checks see it, and DNS leaves the region.

At ten times the speed of real time, and with the control planes of Route 53, IAM and Lambda refused to everybody but
the fault itself.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
from botocore.exceptions import ClientError

from healthcare_dr.emulator.conditions import DoorFault
from support.platform import REGIONS, SUFFIX, Deployed, eventually

PRIMARY, SECONDARY = REGIONS
SCALE = 10
ASKED = 40
Fault = Callable[[Deployed, str], AbstractContextManager[None]]


@pytest.fixture
def fast(deployed: Deployed) -> Iterator[Deployed]:
    """The platform in good health, with health checks and TTLs ten times as fast."""
    deployed.emulator.set_time_scale(SCALE)
    eventually(lambda: named(deployed) == set(REGIONS))
    yield deployed
    for region in REGIONS:
        deployed.emulator.play(region, DoorFault(mode="open"))
    deployed.emulator.refuse_control_planes(refused=False)
    eventually(lambda: healthy(deployed) == {f"health {region}" for region in REGIONS})
    deployed.emulator.set_time_scale(1)


def named(deployed: Deployed) -> set[str]:
    """The regions that DNS answers with, in forty answers: the rarer one is absent by chance once in a million."""
    query = dns.message.make_query(deployed.names.api_domain, "CNAME")
    answers = (
        dns.query.udp(query, deployed.emulator.dns()[0], port=deployed.emulator.dns()[1], timeout=2)
        for _ in range(ASKED)
    )
    targets = Counter(str(answer.answer[0][0].target) for answer in answers)
    return {target.split(".")[2] for target in targets}


def healthy(deployed: Deployed) -> set[str]:
    """The regions' verdicts that are good: `health <region>`."""
    return {
        check.name.removeprefix("healthcare-dr-").removesuffix(f"-{SUFFIX}").replace("health-", "health ", 1)
        for check in deployed.emulator.checks().values()
        if check.healthy and check.name.startswith("healthcare-dr-health-")
    }


@contextmanager
def refused(deployed: Deployed, region: str) -> Iterator[None]:
    with door(deployed, region, DoorFault(mode="refused")):
        yield


@contextmanager
def blackhole(deployed: Deployed, region: str) -> Iterator[None]:
    with door(deployed, region, DoorFault(mode="blackhole")):
        yield


@contextmanager
def errors(deployed: Deployed, region: str) -> Iterator[None]:
    with door(deployed, region, DoorFault(mode="errors")):
        yield


@contextmanager
def door(deployed: Deployed, region: str, fault: DoorFault) -> Iterator[None]:
    deployed.emulator.play(region, fault)
    try:
        yield
    finally:
        deployed.emulator.play(region, DoorFault(mode="open"))


@contextmanager
def throttled(deployed: Deployed, region: str) -> Iterator[None]:
    function = deployed.outputs()["PrimaryFunctionName"]
    client = passing(deployed, "lambda", region)
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        client.delete_function_concurrency(FunctionName=function)


@contextmanager
def denied(deployed: Deployed, region: str) -> Iterator[None]:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}]}
    role, name = deployed.names.of("patient-api", region), "outage"
    client = passing(deployed, "iam", region)
    client.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))
    try:
        yield
    finally:
        client.delete_role_policy(RoleName=role, PolicyName=name)


def seen(deployed: Deployed) -> dict[str, bool]:
    """By region, whether `hdr status` calls it healthy."""
    finished = deployed.hdr("status", "--json")
    return {region["region"]: region["health"] == "healthy" for region in json.loads(finished.stdout)["regions"]}


def passing(deployed: Deployed, service: str, region: str) -> Any:
    """A client whom no refused control plane stops."""
    client = deployed.client(service, region)
    name, value = deployed.emulator.pass_header()
    client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header(name, value))
    return client


@pytest.mark.requirement("C1", "R4.1", "R4.2")
@pytest.mark.trap(24, 27)
@pytest.mark.parametrize("fault", [refused, blackhole, errors, throttled, denied])
def test_dns_leaves_a_region_that_fails_and_comes_back(fast: Deployed, fault: Fault) -> None:
    fast.emulator.refuse_control_planes(refused=True)
    with fault(fast, PRIMARY):
        eventually(lambda: named(fast) == {SECONDARY}, seconds=60)
        assert healthy(fast) == {f"health {SECONDARY}"}
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            fast.client("route53").list_hosted_zones()
        assert seen(fast) == {PRIMARY: False, SECONDARY: True}
    eventually(lambda: named(fast) == set(REGIONS), seconds=60)


@pytest.mark.trap(20)
def test_with_both_regions_unhealthy_dns_answers_with_both(fast: Deployed) -> None:
    with refused(fast, PRIMARY), refused(fast, SECONDARY):
        eventually(lambda: healthy(fast) == set(), seconds=60)
        assert named(fast) == set(REGIONS)


def test_a_slow_region_within_the_limits_stays(fast: Deployed) -> None:
    with door(fast, PRIMARY, DoorFault(mode="slow", delay_seconds=0.3)):
        # More than three checks in a row.
        time.sleep(5 * 10 / SCALE)
        assert healthy(fast) == {f"health {region}" for region in REGIONS}
        assert named(fast) == set(REGIONS)


@pytest.mark.trap(22)
def test_route53_tells_cloudwatch_in_us_east_1_what_it_sees(fast: Deployed) -> None:
    route53, metrics = fast.client("route53"), fast.client("cloudwatch", "us-east-1")
    check = fast.outputs()["HealthCheckPrimary"]
    dimension = [{"Name": "HealthCheckId", "Value": check}]

    def published() -> bool:
        found = metrics.list_metrics(Namespace="AWS/Route53", MetricName="HealthCheckStatus", Dimensions=dimension)
        return bool(found["Metrics"])

    eventually(published, seconds=30)
    (endpoint,) = [
        child["Id"]
        for child in route53.list_health_checks()["HealthChecks"]
        if child["HealthCheckConfig"].get("ResourcePath") == "/health"
        and PRIMARY in child["HealthCheckConfig"]["FullyQualifiedDomainName"]
    ]
    observations = route53.get_health_check_status(HealthCheckId=endpoint)["HealthCheckObservations"]
    assert len(observations) == 8
    assert all(seen["StatusReport"]["Status"].startswith("Success: HTTP Status Code 200") for seen in observations)


@pytest.mark.trap(26)
def test_an_alarm_set_by_hand_moves_no_health_check(fast: Deployed) -> None:
    alarm = fast.names.of(f"health-check-{PRIMARY}")
    fast.client("cloudwatch", "us-east-1").set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="by hand")
    assert named(fast) == set(REGIONS)
    assert healthy(fast) == {f"health {region}" for region in REGIONS}


def test_the_zone_is_answered_as_its_owner_does(fast: Deployed) -> None:
    host, port = fast.emulator.dns()
    answer = dns.query.tcp(dns.message.make_query(fast.names.domain, "SOA"), host, port=port, timeout=2)
    assert answer.flags & dns.flags.AA
    unknown = dns.query.udp(dns.message.make_query(f"no.{fast.names.domain}", "A"), host, port=port, timeout=2)
    assert unknown.rcode() == dns.rcode.NXDOMAIN

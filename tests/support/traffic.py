"""Read DNS answers and health checks, and inject faults that change both."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import dns.exception
import dns.message
import dns.query

from healthcare_dr.emulator.fault_state import EdgeFault
from support.platform import SUFFIX, Deployed

ASKED = 40
ANSWER_SECONDS = 5
Fault = Callable[[Deployed, str], AbstractContextManager[None]]


def named(deployed: Deployed) -> set[str]:
    """The regions that DNS answers with, in forty answers: the rarer one is absent by chance once in a million."""
    query = dns.message.make_query(deployed.names.api_domain, "CNAME")
    address, port = deployed.emulator.dns()
    found = set()
    for _ in range(ASKED):
        try:
            answer = dns.query.udp(query, address, port=port, timeout=ANSWER_SECONDS)
        except dns.exception.Timeout:
            # UDP may lose packets; the resolver of a client asks again.
            continue
        found.add(str(answer.answer[0][0].target).split(".")[2])
    return found


def healthy(deployed: Deployed) -> set[str]:
    """The regions whose calculated health check is healthy."""
    prefix = "healthcare-dr-health-"
    return {
        check.name.removeprefix(prefix).removesuffix(f"-{SUFFIX}")
        for check in deployed.emulator.health_checks().values()
        if check.healthy and check.name.startswith(prefix)
    }


def seen(deployed: Deployed) -> dict[str, bool]:
    """By region, whether `hdr status` reports it as healthy."""
    finished = deployed.hdr("status", "--json")
    return {region["region"]: region["health"] == "healthy" for region in json.loads(finished.stdout)["regions"]}


def passing(deployed: Deployed, service: str, region: str) -> Any:
    """Return a client that may call a control plane that is denied to others."""
    client = deployed.client(service, region)
    name, value = deployed.emulator.bypass_header()
    client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header(name, value))
    return client


@contextmanager
def door(deployed: Deployed, region: str, fault: EdgeFault) -> Iterator[None]:
    """The front door of a region has a fault."""
    deployed.emulator.set_edge_fault(region, fault)
    try:
        yield
    finally:
        deployed.emulator.set_edge_fault(region, EdgeFault(mode="open"))


@contextmanager
def refused(deployed: Deployed, region: str) -> Iterator[None]:
    """The region refuses connections."""
    with door(deployed, region, EdgeFault(mode="refused")):
        yield


@contextmanager
def blackhole(deployed: Deployed, region: str) -> Iterator[None]:
    """The region answers nothing."""
    with door(deployed, region, EdgeFault(mode="blackhole")):
        yield


@contextmanager
def errors(deployed: Deployed, region: str) -> Iterator[None]:
    """The region answers every request with an error."""
    with door(deployed, region, EdgeFault(mode="errors")):
        yield


@contextmanager
def throttled(deployed: Deployed, region: str) -> Iterator[None]:
    """The API's function in the region has no concurrency."""
    function = deployed.outputs()["PrimaryFunctionName"]
    client = passing(deployed, "lambda", region)
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        client.delete_function_concurrency(FunctionName=function)


@contextmanager
def denied(deployed: Deployed, region: str) -> Iterator[None]:
    """The role of the API in the region is denied its tables."""
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}]}
    role, name = deployed.names.of("patient-api", region), "outage"
    client = passing(deployed, "iam", region)
    client.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))
    try:
        yield
    finally:
        client.delete_role_policy(RoleName=role, PolicyName=name)

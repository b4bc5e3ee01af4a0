"""Read DNS answers and health checks, and inject faults that change both."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Final

import dns.exception
import dns.message
import dns.query

from healthcare_dr.emulator.fault_state import EdgeFault
from support.platform import SUFFIX, Deployed

QUERIES = 40
ANSWER_SECONDS = 5
Fault = Callable[[Deployed, str], AbstractContextManager[None]]


def regions_in_dns(deployed: Deployed) -> set[str]:
    """Return the regions in `QUERIES` DNS answers: the rarer one is absent by chance once in a million."""
    query = dns.message.make_query(deployed.names.api_domain, "CNAME")
    address, port = deployed.emulator.dns()
    found = set()
    for _ in range(QUERIES):
        try:
            answer = dns.query.udp(query, address, port=port, timeout=ANSWER_SECONDS)
        except dns.exception.Timeout:
            # UDP may lose packets. A client's resolver repeats the query.
            continue
        found.add(str(answer.answer[0][0].target).split(".")[2])
    return found


def healthy_regions(deployed: Deployed) -> set[str]:
    """Return the regions whose calculated health check is healthy."""
    prefix = "healthcare-dr-health-"
    return {
        check.name.removeprefix(prefix).removesuffix(f"-{SUFFIX}")
        for check in deployed.emulator.health_checks().values()
        if check.healthy and check.name.startswith(prefix)
    }


def reported_health(deployed: Deployed) -> dict[str, bool]:
    """Return by region whether `hdr status` reports it as healthy."""
    finished = deployed.hdr("status", "--json")
    return {region["region"]: region["health"] == "healthy" for region in json.loads(finished.stdout)["regions"]}


def bypassing_client(deployed: Deployed, service: str, region: str) -> Any:
    """Return a client whose calls bypass the denial of control planes."""
    client = deployed.client(service, region)
    name, value = deployed.emulator.bypass_header()
    client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header(name, value))
    return client


@contextmanager
def edge_fault(deployed: Deployed, region: str, fault: EdgeFault) -> Iterator[None]:
    """Inject a fault into the edge proxy of a region for the duration of the block."""
    deployed.emulator.set_edge_fault(region, fault)
    try:
        yield
    finally:
        deployed.emulator.set_edge_fault(region, EdgeFault(mode="open"))


@contextmanager
def throttled(deployed: Deployed, region: str) -> Iterator[None]:
    """Reserve no concurrency for the API's function of the region."""
    function = deployed.outputs()["PrimaryFunctionName"]
    client = bypassing_client(deployed, "lambda", region)
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        client.delete_function_concurrency(FunctionName=function)


@contextmanager
def denied(deployed: Deployed, region: str) -> Iterator[None]:
    """Deny the API's role of the region its tables."""
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}]}
    role, name = deployed.names.of("patient-api", region), "outage"
    client = bypassing_client(deployed, "iam", region)
    client.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))
    try:
        yield
    finally:
        client.delete_role_policy(RoleName=role, PolicyName=name)


FAULTS: Final[Mapping[str, Fault]] = {
    "refused": partial(edge_fault, fault=EdgeFault(mode="refused")),
    "blackhole": partial(edge_fault, fault=EdgeFault(mode="blackhole")),
    "errors": partial(edge_fault, fault=EdgeFault(mode="responds")),
    "throttled": throttled,
    "denied": denied,
}
"""Faults that make a region unhealthy."""

"""Damages to what steers traffic: drain flags, health checks, DNS."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from healthcare_dr.emulator.fault_state import EdgeFault
from support.damages.registry import EAST, WEST, damage
from support.platform import SUFFIX, Deployed, eventually


@damage("drain", EAST, "us-east-1 has been drained by operator:eve", severity="draining")
def a_drained_region(deployed: Deployed) -> Iterator[None]:
    client, table = deployed.client("dynamodb", WEST), deployed.names.records_table
    flag = {"pk": {"S": "$platform#drain"}, "sk": {"S": EAST}}
    client.put_item(TableName=table, Item=flag | {"by": {"S": "operator:eve"}})
    try:
        yield
    finally:
        client.delete_item(TableName=table, Key=flag)


def _check(name: str, region: str, says: str, output: str, broken: dict[str, Any], mended: dict[str, Any]) -> None:
    """A health check, found among all by its tag `Name`, that is changed."""

    def play(deployed: Deployed) -> Iterator[None]:
        client = deployed.client("route53")
        (found,) = (
            check["Id"] for check in client.list_health_checks()["HealthChecks"] if _variableof(client, check) == output
        )
        client.update_health_check(HealthCheckId=found, **broken)
        try:
            yield
        finally:
            client.update_health_check(HealthCheckId=found, **mended)

    play.__name__ = name
    damage("health-checks", region, says)(play)


def _variableof(client: Any, check: Any) -> str:
    tags = client.list_tags_for_resource(ResourceType="healthcheck", ResourceId=check["Id"])["ResourceTagSet"]["Tags"]
    return next((tag["Value"] for tag in tags if tag["Key"] == "Name"), "")


ENDPOINT, DRAIN = f"healthcare-dr-endpoint-primary-{SUFFIX}", f"healthcare-dr-drain-secondary-{SUFFIX}"
BOTH = f"healthcare-dr-health-us-west-2-{SUFFIX}"
_check("a_disabled_check", EAST, "is disabled", ENDPOINT, {"Disabled": True}, {"Disabled": False})
_check(
    "a_slow_check",
    EAST,
    "the failure threshold is 9, not 3",
    ENDPOINT,
    {"FailureThreshold": 9},
    {"FailureThreshold": 3},
)
_check("an_upright_drain_check", WEST, "inversion is False, not True", DRAIN, {"Inverted": False}, {"Inverted": True})
_check("a_lenient_verdict", WEST, "must be healthy is 1, not 2", BOTH, {"HealthThreshold": 1}, {"HealthThreshold": 2})


@damage("health-verdict", WEST, "checkers do not reach the endpoint")
def an_endpoint_nobody_reaches(deployed: Deployed) -> Iterator[None]:
    deployed.emulator.set_time_scale(10)
    deployed.emulator.set_edge_fault(WEST, EdgeFault(mode="refused"))

    def verdict() -> bool:
        (check,) = (
            check
            for check in deployed.emulator.health_checks().values()
            if check.name.endswith(f"endpoint-secondary-{SUFFIX}")
        )
        return check.share == 0

    try:
        eventually(verdict)
        yield
    finally:
        deployed.emulator.set_edge_fault(WEST, EdgeFault(mode="open"))
        eventually(lambda: all(check.healthy for check in deployed.emulator.health_checks().values()))
        deployed.emulator.set_time_scale(1)


@contextmanager
def record(deployed: Deployed, region: str, **changed: Any) -> Iterator[None]:
    client, zone = deployed.client("route53"), deployed.outputs()["ZoneId"]
    (before,) = (
        found for found in client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        if found.get("SetIdentifier") == region
    )  # fmt: skip

    def put(wanted: dict[str, Any]) -> None:
        said = {name: value for name, value in wanted.items() if value is not None}
        change = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": said}]}
        client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)

    put(before | changed)
    try:
        yield
    finally:
        put(before)


@damage("records", WEST, "weight of us-west-2 is 0, not 30")
def a_region_without_weight(deployed: Deployed) -> Iterator[None]:
    with record(deployed, WEST, Weight=0):
        yield


@damage("records", EAST, "health check of us-east-1 is None")
def a_record_without_its_check(deployed: Deployed) -> Iterator[None]:
    with record(deployed, EAST, HealthCheckId=None):
        yield


@damage("records", EAST, "TTL of us-east-1 is 300, not 10")
def a_long_ttl(deployed: Deployed) -> Iterator[None]:
    with record(deployed, EAST, TTL=300):
        yield


@damage("shared-name", None, "has a record that was not deployed (before, CNAME): left-over.example.org, weight 255")
def a_record_that_was_left_over(deployed: Deployed) -> Iterator[None]:
    client, zone = deployed.client("route53"), deployed.outputs()["ZoneId"]
    left = {
        "Name": f"{deployed.names.api_domain}.", "Type": "CNAME", "SetIdentifier": "before", "Weight": 255, "TTL": 300,
        "ResourceRecords": [{"Value": "left-over.example.org"}],
    }  # fmt: skip

    def change(action: str) -> None:
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": left}]}
        client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)

    change("CREATE")
    try:
        yield
    finally:
        change("DELETE")

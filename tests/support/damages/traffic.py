"""Damages to drain flags, health checks and DNS records."""

from functools import partial
from typing import Any

from healthcare_dr.emulator.fault_state import EdgeFault
from support.damages.registry import EAST, WEST, Undo, damage
from support.platform import SUFFIX, Deployed, eventually


@damage("drain", EAST, "us-east-1 has been drained by operator:eve", severity="draining")
def drained_region(deployed: Deployed) -> Undo:
    client, table = deployed.client("dynamodb", WEST), deployed.names.records_table
    flag = {"pk": {"S": "$platform#drain"}, "sk": {"S": EAST}}
    client.put_item(TableName=table, Item=flag | {"by": {"S": "operator:eve"}})
    return lambda: client.delete_item(TableName=table, Key=flag)


def health_check(deployed: Deployed, name: str, setting: str, broken: Any, right: Any) -> Undo:
    """Change a setting of the health check whose tag `Name` is `name`."""
    client = deployed.client("route53")

    def name_of(check: str) -> str:
        tags = client.list_tags_for_resource(ResourceType="healthcheck", ResourceId=check)["ResourceTagSet"]["Tags"]
        return next((str(tag["Value"]) for tag in tags if tag["Key"] == "Name"), "")

    checks = [check["Id"] for check in client.list_health_checks()["HealthChecks"]]
    (found,) = [check for check in checks if name_of(check) == name]
    client.update_health_check(HealthCheckId=found, **{setting: broken})
    return lambda: client.update_health_check(HealthCheckId=found, **{setting: right})


ENDPOINT, DRAIN = f"healthcare-dr-endpoint-primary-{SUFFIX}", f"healthcare-dr-drain-secondary-{SUFFIX}"
HEALTH = f"healthcare-dr-health-us-west-2-{SUFFIX}"
for _name, _region, _problem, _arguments in (
    ("health-check-disabled", EAST, "is disabled", (ENDPOINT, "Disabled", True, False)),
    ("health-check-threshold", EAST, "the failure threshold is 9, not 3", (ENDPOINT, "FailureThreshold", 9, 3)),
    ("drain-check-not-inverted", WEST, "inversion is False, not True", (DRAIN, "Inverted", False, True)),
    ("health-check-of-one-child", WEST, "must be healthy is 1, not 2", (HEALTH, "HealthThreshold", 1, 2)),
):
    _name_of, _setting, _broken, _right = _arguments
    damage("health-checks", _region, _problem, name=_name)(
        partial(health_check, name=_name_of, setting=_setting, broken=_broken, right=_right)
    )


@damage("health-verdict", WEST, "checkers do not reach the endpoint")
def unreachable_endpoint(deployed: Deployed) -> Undo:
    emulator = deployed.emulator

    def unreachable() -> bool:
        name = f"endpoint-secondary-{SUFFIX}"
        (check,) = (check for check in emulator.health_checks().values() if check.name.endswith(name))
        return check.share == 0

    emulator.set_time_scale(10)
    emulator.set_edge_fault(WEST, EdgeFault(mode="refused"))
    eventually(unreachable)
    return deployed.restore


def record(deployed: Deployed, region: str, **changed: Any) -> Undo:
    client, zone = deployed.client("route53"), deployed.outputs()["ZoneId"]
    (before,) = (
        found for found in client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        if found.get("SetIdentifier") == region
    )  # fmt: skip

    def put(wanted: dict[str, Any]) -> None:
        given = {name: value for name, value in wanted.items() if value is not None}
        change = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": given}]}
        client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)

    put(before | changed)
    return lambda: put(before)


@damage("records", WEST, "weight of us-west-2 is 0, not 30")
def record_without_weight(deployed: Deployed) -> Undo:
    return record(deployed, WEST, Weight=0)


@damage("records", EAST, "health check of us-east-1 is None")
def record_without_health_check(deployed: Deployed) -> Undo:
    return record(deployed, EAST, HealthCheckId=None)


@damage("records", EAST, "TTL of us-east-1 is 300, not 10")
def record_with_a_long_ttl(deployed: Deployed) -> Undo:
    return record(deployed, EAST, TTL=300)


@damage("shared-name", None, "has a record that was not deployed (before, CNAME): left-over.example.org, weight 255")
def additional_record(deployed: Deployed) -> Undo:
    client, zone = deployed.client("route53"), deployed.outputs()["ZoneId"]
    left = {
        "Name": f"{deployed.names.api_domain}.", "Type": "CNAME", "SetIdentifier": "before", "Weight": 255, "TTL": 300,
        "ResourceRecords": [{"Value": "left-over.example.org"}],
    }  # fmt: skip

    def change(action: str) -> None:
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": left}]}
        client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)

    change("CREATE")
    return lambda: change("DELETE")

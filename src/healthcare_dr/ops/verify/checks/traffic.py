"""Checks of the traffic: endpoints, drain flags, health checks and DNS records."""

from collections.abc import Iterator
from typing import Any, Final

from healthcare_dr.ops.terraform.state import Resource
from healthcare_dr.ops.verify.check import REDEPLOY, Problem, each_region, platform
from healthcare_dr.ops.verify.live_target import GLOBAL_REGION, Answer, LiveTarget
from patient_api.contract.keys import DRAIN_PARTITION, key
from patient_api.contract.routes import PROBE_STAGE

MISSING = ("NoSuchHealthCheck",)
# Route 53 considers an endpoint healthy if more than this share of its checkers does.
HEALTHY_SHARE: Final = 0.18
SERVED: Final = 200


@each_region(
    "endpoint", "C1", "trap 24",
    expects="The region's own endpoint returns 200 to GET /health: it can use its tables, its bucket and its key",
    why="Route 53 probes this endpoint; an unhealthy region gets no traffic.",
    fix="check the region's dashboard and the log of its API function",
)  # fmt: skip
def endpoint(live: LiveTarget, region: str) -> Iterator[str]:
    code = live.probe(f"{live.deployed.output(region, 'api_endpoint')}/health")
    if code != SERVED:
        yield "the endpoint does not respond" if code is None else f"the endpoint returns {code} to GET /health"


@each_region(
    "drain", "C1", "trap 27",
    expects="The region is not drained: its flag is not set in the other region",
    why="DNS does not name a drained region until it is restored: recovery into it would not work.",
    fix="`hdr restore REGION` when the region is ready",
)  # fmt: skip
def drain(live: LiveTarget, region: str) -> Iterator[Problem]:
    peer = live.peer(region)
    found = live.request(
        "dynamodb",
        peer,
        "get_item",
        TableName=live.names.records_table,
        Key=key(DRAIN_PARTITION, region),
        ConsistentRead=True,
    ).get("Item")
    if found:
        by = found.get("by", {}).get("S", "an unknown operator")
        yield Problem(f"{region} has been drained by {by}: {peer} has its drain flag", "draining")


@each_region(
    "health-checks", "R4.2", "C1", "trap 23", "trap 25",
    expects="The region's three health checks exist, are enabled and have the deployed settings: the endpoint, the "
    "inverted drain check in the other region, and the calculated check of both",
    why="A disabled check is always healthy, and an inverted one reports the opposite: DNS would name an unhealthy "
    "region, or not name a healthy one.",
    fix=REDEPLOY,
)  # fmt: skip
def health_checks(live: LiveTarget, region: str) -> Iterator[str]:
    # One request for all checks: Route 53 allows five requests per second and account.
    checks = live.request("route53", GLOBAL_REGION, "list_health_checks")["HealthChecks"]
    configs = {check["Id"]: check["HealthCheckConfig"] for check in checks}
    for deployed in _checks(live, region):
        config, name = configs.get(deployed["id"]), deployed.name.replace("_", "-")
        if config is None:
            yield f"{name} does not exist"
            continue
        if config.get("Disabled"):
            yield f"{name} is disabled, so Route 53 considers it healthy"
        for what, (is_, wanted) in _designed(live, deployed, config).items():
            if is_ != wanted:
                yield f"{name}: {what} is {is_}, not {wanted}"


@each_region(
    "health-verdict", "R4.2", "C1",
    expects="Route 53's checkers reach the region's endpoint",
    why="DNS does not name a region that the checkers do not reach.",
    fix="see the endpoint check; when only the checkers fail, check the network between them and the API",
)  # fmt: skip
def verdict(live: LiveTarget, region: str) -> Iterator[str]:
    for deployed in _checks(live, region):
        if deployed["resource_path"] != f"/{PROBE_STAGE}/health":
            continue
        answer = live.request_optional(
            "route53", GLOBAL_REGION, "get_health_check_status", MISSING, HealthCheckId=deployed["id"]
        )
        seen = [found["StatusReport"]["Status"] for found in (answer or {}).get("HealthCheckObservations") or ()]
        well = sum(status.startswith("Success") for status in seen)
        if not seen:
            yield "no checker of Route 53 has probed the endpoint yet"
        elif well / len(seen) <= HEALTHY_SHARE:
            bad = next(status for status in seen if not status.startswith("Success"))
            yield f"{len(seen) - well} of Route 53's {len(seen)} checkers do not reach the endpoint ({bad})"


@each_region(
    "records", "R4.1", "C1", "trap 21", "trap 28",
    expects="DNS names the region with its weight and TTL, its own endpoint, and its own health check",
    why="A record without its health check is always healthy, clients use an unhealthy region during a long TTL, and a "
    "region of weight 0 gets no traffic.",
    fix=REDEPLOY,
)  # fmt: skip
def records(live: LiveTarget, region: str) -> Iterator[str]:
    settings = live.settings
    weight = settings.primary_weight if region == settings.primary_region else settings.secondary_weight
    mine = [record for record in _named(live) if record.get("SetIdentifier") == region]
    if not mine:
        yield f"{live.names.api_domain} does not name {region}"
        return
    (deployed,) = (record for record in live.deployed.of("aws_route53_record") if record["set_identifier"] == region)
    values = [value["Value"].rstrip(".") for value in mine[0].get("ResourceRecords") or ()]
    for what, is_, wanted in (
        ("weight", mine[0].get("Weight"), weight),
        ("TTL", mine[0].get("TTL"), settings.dns_ttl),
        ("target", values, [str(target).rstrip(".") for target in deployed["records"]]),
        ("health check", mine[0].get("HealthCheckId"), _verdict_id(live, region)),
    ):
        if is_ != wanted:
            yield f"{live.names.api_domain}: {what} of {region} is {_value_text(is_)}, not {_value_text(wanted)}"


@platform(
    "shared-name", "R4.1", "C1", "trap 21", "trap 28",
    expects="The shared name has only the deployed records, one for each region",
    why="An additional record gets a share of the traffic by its own weight and TTL; without a health check of the "
    "platform it is never withdrawn.",
    fix="`aws route53 change-resource-record-sets` with the action DELETE and the record as "
    "`aws route53 list-resource-record-sets` shows it",
)  # fmt: skip
def shared_name(live: LiveTarget, region: str) -> Iterator[str]:
    del region
    deployed = {
        (record["type"], record["set_identifier"])
        for record in live.deployed.of("aws_route53_record")
        if str(record["name"]).rstrip(".") == live.names.api_domain
    }
    for record in _named(live):
        if (record["Type"], record.get("SetIdentifier")) not in deployed:
            values = [value["Value"] for value in record.get("ResourceRecords") or ()]
            known_as = f"{record.get('SetIdentifier', 'without an identifier')}, {record['Type']}"
            yield (
                f"{live.names.api_domain} has a record that was not deployed ({known_as}): {_value_text(values)}, "
                f"weight {record.get('Weight')}, TTL {record.get('TTL')}, health check {record.get('HealthCheckId')}"
            )


def _named(live: LiveTarget) -> list[Answer]:
    """Return all records of the shared name."""
    zone = str(live.deployed.outputs().get("zone_id", ""))
    found = live.request_optional(
        "route53", GLOBAL_REGION, "list_resource_record_sets", ("NoSuchHostedZone",), HostedZoneId=zone
    )
    records: list[Answer] = (found or {}).get("ResourceRecordSets") or []
    return [record for record in records if record["Name"].rstrip(".") == live.names.api_domain]


def _checks(live: LiveTarget, region: str) -> list[Resource]:
    """Return the region's endpoint, drain and calculated check, whose names end with its role."""
    role = "primary" if region == live.settings.primary_region else "secondary"
    return [check for check in live.deployed.of("aws_route53_health_check") if check.name.endswith(f"_{role}")]


def _designed(live: LiveTarget, deployed: Resource, config: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    if deployed["type"] == "CALCULATED":
        children = sorted(deployed["child_healthchecks"] or ())
        return {
            "the type": (config.get("Type"), "CALCULATED"),
            "the set of children": (sorted(config.get("ChildHealthChecks") or ()), children),
            "the number of children that must be healthy": (config.get("HealthThreshold"), len(children)),
            "inversion": (bool(config.get("Inverted")), False),
        }
    return {
        "the type": (config.get("Type"), "HTTPS"),
        "the host": (config.get("FullyQualifiedDomainName"), deployed["fqdn"]),
        "the path": (config.get("ResourcePath"), deployed["resource_path"]),
        "the port": (config.get("Port"), deployed["port"]),
        "the interval": (config.get("RequestInterval"), live.settings.health_check_interval),
        "the failure threshold": (config.get("FailureThreshold"), live.settings.failure_threshold),
        "inversion": (
            bool(config.get("Inverted")),
            str(deployed["resource_path"]).startswith(f"/{PROBE_STAGE}/drain/"),
        ),
        "SNI": (bool(config.get("EnableSNI")), True),
    }


def _verdict_id(live: LiveTarget, region: str) -> str:
    (check,) = (check for check in _checks(live, region) if check["type"] == "CALCULATED")
    return str(check["id"])


def _value_text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)

"""Rules on DNS and health checks."""

from collections.abc import Iterator

from healthcare_dr.infra.lint.model import Platform, Resource, rule
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
RECOVERY_TIME_SECONDS = 300
RESERVED = ("example.com", "example.net", "example.org", ".test", ".invalid", ".localhost", ".local", "amazonaws.com")


@rule("zone-own-domain", "R4.1", "R4.3", "D3", "D6", why="A reserved domain never reaches the platform.")
def own_domain(platform: Platform) -> Problems:
    zones = list(platform.resources("aws_route53_zone"))
    if len(zones) != 1:
        yield "aws_route53_zone", f"there must be one hosted zone; there are {len(zones)}"
    for zone in zones:
        name = str(zone.get("name"))
        if name != Names(platform.settings.environment_suffix).domain or name.endswith(RESERVED):
            yield zone.address, f"{name} must be {Names(platform.settings.environment_suffix).domain}"
        if zone.get("force_destroy") is not True:
            yield zone.address, "force_destroy must be true"


@rule(
    "weighted-records", "R4.1", "trap 21",
    why="Both regions answer by weight, and a record without a health check counts as always healthy.",
)  # fmt: skip
def weighted(platform: Platform) -> Problems:
    records = _shared_records(platform)
    weights = {record.get("set_identifier"): record.get("weighted_routing_policy", "weight") for record in records}
    settings = platform.settings
    wanted = {settings.primary_region: settings.primary_weight, settings.secondary_region: settings.secondary_weight}
    if weights != wanted:
        yield "aws_route53_record", f"the shared name must have weights {wanted}; it has {weights}"
    for record in records:
        check = platform.referred(record.stack, record.get("health_check_id"))
        if check is None or check.get("type") != "CALCULATED":
            yield record.address, "must be tied to its region's calculated health check"
        elif _judged_region(platform, check) != record.get("set_identifier"):
            yield record.address, f"must follow the verdict on {record.get('set_identifier')}, not another region's"
        if _answering_region(platform, record) != record.get("set_identifier"):
            yield record.address, f"must lead to {record.get('set_identifier')}, not elsewhere"


@rule(
    "recovery-time", "R4.2", "C1", "C2", "trap 28",
    why="Detection and cached DNS answers are the recovery time: threshold x interval + TTL.",
)  # fmt: skip
def recovery_time(platform: Platform) -> Problems:
    ttl = max((int(record.get("ttl")) for record in _shared_records(platform)), default=0)
    for check in _probes(platform):
        interval, threshold = int(check.get("request_interval")), int(check.get("failure_threshold"))
        if threshold != platform.settings.failure_threshold:
            yield check.address, f"must fail after {platform.settings.failure_threshold} checks, not {threshold}"
        if interval * threshold + ttl >= RECOVERY_TIME_SECONDS:
            yield check.address, f"detection takes {interval * threshold} s and TTL {ttl} s more: over the RTO"


@rule(
    "probe-own-endpoint", "C1", "trap 23", "trap 24",
    why="A probe of the shared name reaches either region, and a shallow path is always healthy.",
)  # fmt: skip
def own_endpoint(platform: Platform) -> Problems:
    for check in _probes(platform):
        host, path = str(check.get("fqdn")), str(check.get("resource_path"))
        if ".execute-api." not in host:
            yield check.address, f"must probe a region's own endpoint, not {host}"
        if check.get("type") != "HTTPS" or not (path == "/health" or path.startswith("/drain/")):
            yield check.address, "must request /health or /drain/<region> over HTTPS"


@rule(
    "calculated-verdict", "C1", "trap 25",
    why="Healthy means both: the endpoint answers and the region is not drained; thresholds in time are for probes.",
)  # fmt: skip
def calculated(platform: Platform) -> Problems:
    for check in platform.resources("aws_route53_health_check"):
        if check.get("type") != "CALCULATED":
            continue
        for attribute in ("failure_threshold", "request_interval"):
            if check.get(attribute) is not None:
                yield check.address, f"{attribute} is not for calculated checks"
        children = [platform.referred(check.stack, child) for child in check.get("child_healthchecks") or ()]
        if len(children) != 2 or check.get("child_health_threshold") != 2 or None in children:
            yield check.address, "must need both of its two children"
            continue
        endpoint = next((child for child in children if child and child.get("resource_path") == "/health"), None)
        drain = next((child for child in children if child and child.get("invert_healthcheck") is True), None)
        if endpoint is None or drain is None:
            yield check.address, "its children must be the endpoint's probe and the inverted drain check"
        elif _asked_region(endpoint) == _asked_region(drain):
            yield (
                check.address,
                "the drain check must probe the other region: a dead region must not drain the living one",
            )
        elif drain.get("resource_path") != f"/drain/{_asked_region(endpoint)}":
            yield check.address, "the drain check must request the drain state of its own region"


@rule(
    "certificates", "C1", "trap 30", "trap 31",
    why="Without a delegated zone a validation never ends; without a certificate in each region failover meets errors.",
)  # fmt: skip
def certificates(platform: Platform) -> Problems:
    validations = list(platform.resources("aws_acm_certificate_validation"))
    if not platform.settings.dns_delegated:
        for validation in validations:
            yield validation.address, "waits for ever: HDR_DNS_DELEGATED is not set"
        return
    for kind in ("aws_acm_certificate", "aws_acm_certificate_validation", "aws_apigatewayv2_domain_name"):
        regions = sorted(resource.region for resource in platform.resources(kind))
        if regions != sorted(platform.settings.regions):
            yield kind, f"must exist once in each region; it exists in {regions or 'none'}"


def _probes(platform: Platform) -> list[Resource]:
    return [check for check in platform.resources("aws_route53_health_check") if check.get("type") != "CALCULATED"]


def _shared_records(platform: Platform) -> list[Resource]:
    name = Names(platform.settings.environment_suffix).api_domain
    return [record for record in platform.resources("aws_route53_record") if record.get("name") == name]


def _judged_region(platform: Platform, verdict: Resource) -> str | None:
    children = [platform.referred(verdict.stack, child) for child in verdict.get("child_healthchecks") or ()]
    return next((_asked_region(child) for child in children if child and child.get("resource_path") == "/health"), None)


def _answering_region(platform: Platform, record: Resource) -> str | None:
    (target,) = record.get("records") or [None]
    if not platform.settings.dns_delegated:
        return _region_of(target)
    domain = platform.referred(record.stack, target)
    return domain.region if domain is not None and domain.kind == "aws_apigatewayv2_domain_name" else None


def _asked_region(check: Resource) -> str:
    return _region_of(check.get("fqdn"))


def _region_of(host: object) -> str:
    return str(host).partition(".execute-api.")[2].partition(".")[0]

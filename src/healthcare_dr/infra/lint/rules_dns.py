"""Rules on DNS and health checks."""

from healthcare_dr.infra.lint.model import Platform, Problems, Resource, rule

HEALTH_CHECK = "aws_route53_health_check"
CERTIFICATE = "aws_acm_certificate"
CUSTOM_DOMAIN = "aws_apigatewayv2_domain_name"
RECOVERY_TIME_SECONDS = 300
# Independent of the settings, which refuse the same names.
RESERVED = (
    ".alt", ".amazonaws.com", ".arpa", ".aws", ".example", ".example.com", ".example.net", ".example.org", ".internal",
    ".invalid", ".local", ".localhost", ".onion", ".test",
)  # fmt: skip
# Not imported from the contract: the paths that the checkers must request.
HEALTH, DRAIN = "/probes/health", "/probes/drain/"


@rule("R4.1", "R4.3", "D3", "D6")
def zone_own_domain(platform: Platform) -> Problems:
    """A reserved domain never reaches the platform."""
    zones = list(platform.resources("aws_route53_zone"))
    if len(zones) != 1:
        yield "aws_route53_zone", f"there must be one hosted zone; there are {len(zones)}"
    for zone in zones:
        name, expected = str(zone.get("name")), _domain(platform)
        if name != expected:
            yield zone.address, f"{name} must be {expected}"
        if f".{name}".endswith(RESERVED):
            yield zone.address, f"{name} is a reserved domain"
        if zone.get("force_destroy") is not True:
            yield zone.address, "force_destroy must be true"


@rule("R4.3", "C1", "trap 31")
def shared_name(platform: Platform) -> Problems:
    """Clients use one name. A record, a certificate or a custom domain with another name does not serve them."""
    expected = f"api.{_domain(platform)}"
    weighted = [record for record in platform.resources("aws_route53_record") if record.get("weighted_routing_policy")]
    served = [
        *((record, "name") for record in weighted),
        *((resource, "domain_name") for resource in platform.resources(CERTIFICATE, CUSTOM_DOMAIN)),
    ]
    for resource, attribute in served:
        if resource.get(attribute) != expected:
            yield resource.address, f"its {attribute} {resource.get(attribute)} must be {expected}"


@rule("R4.1", "C1", "trap 21")
def weighted_records(platform: Platform) -> Problems:
    """Both regions answer by weight, and a record without a health check counts as always healthy."""
    records = _shared_records(platform)
    weights = {record.get("set_identifier"): record.get("weighted_routing_policy", "weight") for record in records}
    settings = platform.settings
    expected = {settings.primary_region: settings.primary_weight, settings.secondary_region: settings.secondary_weight}
    if weights != expected:
        yield "aws_route53_record", f"the shared name must have weights {expected}; it has {weights}"
    for record in records:
        region = record.get("set_identifier")
        check = platform.referred(record.stack, record.get("health_check_id"))
        if check is None or check.get("type") != "CALCULATED":
            yield record.address, "must refer to its region's calculated health check"
        elif _region_of_calculated(platform, check) != region:
            yield record.address, f"must refer to the health check of {region}, not another region's"
        if _target_region(platform, record) != region:
            yield record.address, f"must point to {region}"


@rule("R4.2", "C1", "C2", "trap 28")
def recovery_time(platform: Platform) -> Problems:
    """Detection and cached DNS answers are the recovery time: threshold x interval + TTL."""
    ttl = max((int(record.get("ttl")) for record in _shared_records(platform)), default=0)
    for check in _probes(platform):
        interval, threshold = int(check.get("request_interval")), int(check.get("failure_threshold"))
        if threshold != platform.settings.failure_threshold:
            yield check.address, f"must fail after {platform.settings.failure_threshold} checks, not {threshold}"
        if interval * threshold + ttl >= RECOVERY_TIME_SECONDS:
            yield check.address, f"detection takes {interval * threshold} s and TTL {ttl} s more: over the RTO"


@rule("C1", "trap 23", "trap 24")
def probe_own_endpoint(platform: Platform) -> Problems:
    """A probe of the shared name reaches either region, and a shallow path is always healthy."""
    for check in _probes(platform):
        host, path = str(check.get("fqdn")), str(check.get("resource_path"))
        if ".execute-api." not in host:
            yield check.address, f"must probe a region's own endpoint, not {host}"
        if check.get("type") != "HTTPS" or not (path == HEALTH or path.startswith(DRAIN)):
            yield check.address, f"must request {HEALTH} or {DRAIN}<region> over HTTPS"


@rule("C1", "trap 25", "trap 27")
def calculated_health_check(platform: Platform) -> Problems:
    """A region is healthy if its endpoint responds and it is not drained. Only probes have thresholds in time."""
    for check in platform.resources(HEALTH_CHECK):
        if check.get("type") != "CALCULATED":
            continue
        for attribute in ("failure_threshold", "request_interval"):
            if check.get(attribute) is not None:
                yield check.address, f"{attribute} is not for calculated checks"
        children = _children(platform, check)
        if len(children) != 2 or check.get("child_health_threshold") != 2:
            yield check.address, "must need both of its two children"
            continue
        endpoint = next((child for child in children if child.get("resource_path") == HEALTH), None)
        drain = next((child for child in children if child.get("invert_healthcheck") is True), None)
        if endpoint is None or drain is None:
            yield check.address, "its children must be the endpoint's probe and the inverted drain check"
        elif _probed_region(endpoint) == _probed_region(drain):
            problem = "the drain check must probe the other region: a lost region must not drain the healthy one"
            yield check.address, problem
        elif drain.get("resource_path") != f"{DRAIN}{_probed_region(endpoint)}":
            yield check.address, "the drain check must request the drain state of its own region"


@rule("C1", "trap 30", "trap 31")
def certificates(platform: Platform) -> Problems:
    """Without a delegated zone a validation never ends. Without a certificate in each region failover fails."""
    if not platform.settings.dns_delegated:
        for validation in platform.resources("aws_acm_certificate_validation"):
            yield validation.address, "never completes: HDR_DNS_DELEGATED is not set"
        return
    for kind in (CERTIFICATE, "aws_acm_certificate_validation", CUSTOM_DOMAIN):
        yield from platform.once_in_each_region(kind, platform.resources(kind))


def _domain(platform: Platform) -> str:
    """Return the domain of the settings, or the one that the suffix gives."""
    return platform.settings.domain or f"healthcare-dr-{platform.settings.environment_suffix}.com"


def _probes(platform: Platform) -> list[Resource]:
    return [check for check in platform.resources(HEALTH_CHECK) if check.get("type") != "CALCULATED"]


def _shared_records(platform: Platform) -> list[Resource]:
    records = platform.resources("aws_route53_record")
    return [record for record in records if record.get("name") == f"api.{_domain(platform)}"]


def _children(platform: Platform, calculated: Resource) -> list[Resource]:
    found = [platform.referred(calculated.stack, child) for child in calculated.get("child_healthchecks") or ()]
    return [child for child in found if child is not None]


def _region_of_calculated(platform: Platform, calculated: Resource) -> str | None:
    children = _children(platform, calculated)
    return next((_probed_region(child) for child in children if child.get("resource_path") == HEALTH), None)


def _target_region(platform: Platform, record: Resource) -> str | None:
    (target,) = record.get("records") or [None]
    if not platform.settings.dns_delegated:
        return _region_of(target)
    domain = platform.referred(record.stack, target)
    return domain.region if domain is not None and domain.kind == CUSTOM_DOMAIN else None


def _probed_region(check: Resource) -> str:
    return _region_of(check.get("fqdn"))


def _region_of(host: object) -> str:
    return str(host).partition(".execute-api.")[2].partition(".")[0]

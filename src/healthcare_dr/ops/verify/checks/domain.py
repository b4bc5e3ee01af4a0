"""Checks of the domain, where it is delegated to the platform: delegation and certificates."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from healthcare_dr.ops.verify.check import each_region, platform
from healthcare_dr.ops.verify.live_target import GLOBAL_REGION, LiveTarget, RequestFailedError

RENEWAL: Final = timedelta(days=30)

NameServerLookup = Callable[[str], Sequence[str]]
"""Returns the name servers to which the parent zone delegates a domain; raises OSError if no server responds."""


@platform(
    "delegation", "R4.3", "trap 30",
    expects="With HDR_DNS_DELEGATED, the parent zone delegates the domain to the name servers of the platform's zone",
    why="Without the delegation no client queries the zone that fails over.",
    fix="have the registrar name the servers that `hdr outputs` shows as NameServers",
)  # fmt: skip
def delegation(live: LiveTarget, region: str) -> Iterator[str]:
    del region
    if live.settings.dns_delegated:
        yield from delegated(live.names.domain, _zone_servers(live), live.name_servers)


@each_region(
    "certificate", "C1", "trap 30", "trap 31",
    expects="Where the domain is delegated, the region has an issued certificate for the shared name, good for 30 days "
    "more, and serves the name with it",
    why="Without a certificate in each region clients meet TLS errors after the failover.",
    fix="check the validation record of the certificate in the zone, then run `hdr deploy`",
)  # fmt: skip
def certificate(live: LiveTarget, region: str) -> Iterator[str]:
    if not live.settings.dns_delegated:
        return
    name = live.names.api_domain
    domain = live.request_optional("apigatewayv2", region, "get_domain_name", ("NotFoundException",), DomainName=name)
    if domain is None:
        yield f"the region does not serve {name}"
        return
    for configuration in domain["DomainNameConfigurations"]:
        arn = configuration["CertificateArn"]
        found = live.request_optional(
            "acm", region, "describe_certificate", ("ResourceNotFoundException",), CertificateArn=arn
        )
        said: dict[str, Any] = found["Certificate"] if found else {"Status": "missing"}
        ends = said.get("NotAfter")
        if said["Status"] != "ISSUED":
            yield f"the certificate of {name} is {said['Status']}"
        elif name not in [said.get("DomainName"), *said.get("SubjectAlternativeNames", ())]:
            yield f"the certificate is for {said.get('DomainName')}, not {name}"
        elif ends is not None and ends - live.now() < RENEWAL:
            yield f"the certificate of {name} ends on {ends:%Y-%m-%d}"


def delegated(domain: str, wanted: Sequence[str], look_up: NameServerLookup) -> Iterator[str]:
    """Yield the problems with a domain's delegation. Raises RequestFailedError."""
    try:
        found = look_up(domain)
    except OSError as error:
        raise RequestFailedError(f"the delegation of {domain} cannot be asked: {error}", service="dns") from error
    if not found:
        yield f"{domain} is not delegated"
    elif _hosts(found) != _hosts(wanted):
        yield f"{domain} is delegated to {', '.join(sorted(_hosts(found)))}, not to {', '.join(sorted(_hosts(wanted)))}"


def _zone_servers(live: LiveTarget) -> Sequence[str]:
    zone = str(live.deployed.outputs().get("zone_id", ""))
    servers: list[str] = live.request("route53", GLOBAL_REGION, "get_hosted_zone", Id=zone)["DelegationSet"][
        "NameServers"
    ]
    return servers


def _hosts(servers: Sequence[str]) -> set[str]:
    return {server.rstrip(".").lower() for server in servers}

"""Checks of the domain, if it is delegated to the platform: delegation and certificates."""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from healthcare_dr.ops.verify.check import each_region, platform
from healthcare_dr.ops.verify.live_target import GLOBAL_REGION, LiveTarget, RequestFailedError

RENEWAL: Final = timedelta(days=30)
TIMEOUT_SECONDS: Final = 2.0
LIMIT_SECONDS: Final = 20.0
DNS: Final = 53


@platform(
    "delegation", "R4.3", "trap 30",
    expects="With HDR_DNS_DELEGATED, the parent zone delegates the domain to the name servers of the platform's zone",
    why="Without the delegation no client queries the zone that fails over.",
    fix="set the servers that `hdr outputs` shows as NameServers as NS records of the domain in the parent zone, or at "
    "the registrar",
)  # fmt: skip
def delegation(live: LiveTarget, region: str) -> Iterator[str]:
    del region
    if not live.settings.dns_delegated:
        return
    domain, wanted = live.names.domain, _zone_servers(live)
    try:
        found = _hosts(name_servers(domain))
    except OSError as error:
        raise RequestFailedError(f"the delegation of {domain} cannot be read: {error}", service="dns") from error
    if not found:
        yield f"{domain} is not delegated"
    elif found != wanted:
        yield f"{domain} is delegated to {', '.join(sorted(found))}, not to {', '.join(sorted(wanted))}"


@each_region(
    "certificate", "C1", "trap 30", "trap 31",
    expects="If the domain is delegated, the region serves the shared name with an issued certificate that is valid "
    "for 30 more days",
    why="Without a certificate in each region clients get TLS errors after the failover.",
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
        details: dict[str, Any] = found["Certificate"] if found else {"Status": "missing"}
        ends = details.get("NotAfter")
        if details["Status"] != "ISSUED":
            yield f"the certificate of {name} is {details['Status']}"
        elif name not in [details.get("DomainName"), *details.get("SubjectAlternativeNames", ())]:
            yield f"the certificate is for {details.get('DomainName')}, not {name}"
        elif ends is not None and ends - live.now() < RENEWAL:
            yield f"the certificate of {name} ends on {ends:%Y-%m-%d}"


def _zone_servers(live: LiveTarget) -> set[str]:
    zone = str(live.deployed.outputs().get("zone_id", ""))
    return _hosts(live.request("route53", GLOBAL_REGION, "get_hosted_zone", Id=zone)["DelegationSet"]["NameServers"])


def _hosts(servers: Sequence[str]) -> set[str]:
    return {server.rstrip(".").lower() for server in servers}


def name_servers(domain: str) -> Sequence[str]:
    """Return the name servers to which the parent zone delegates a domain; none without a delegation.

    The parent zone is that of a registry, or a zone of the operator, which may be several labels above the domain.

    Raises:
        OSError: the parent zone cannot be found, or none of its servers responds.
    """
    return first_delegation(domain, _servers(domain.partition(".")[2]))


def first_delegation(
    domain: str,
    servers: Iterable[tuple[str, int]],
    *,
    timeout: float = TIMEOUT_SECONDS,
    limit_seconds: float = LIMIT_SECONDS,
) -> Sequence[str]:
    """Return the delegation from the first address and port that responds within `timeout` seconds.

    Raises:
        OSError: none responds within the limit; the text is the last error.
    """
    import dns.exception
    import dns.message
    import dns.query
    import dns.rcode
    import dns.rdatatype

    deadline, failure = time.monotonic() + limit_seconds, "it has no name servers that can be queried"
    for address, port in servers:
        if time.monotonic() >= deadline:
            break
        try:
            query = dns.message.make_query(domain, "NS")
            answer = dns.query.udp_with_fallback(query, address, port=port, timeout=timeout)[0]
        except (dns.exception.DNSException, OSError) as error:
            failure = f"{address}: {' '.join(str(error).split())}"
            continue
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            failure = f"{address} returns {dns.rcode.to_text(answer.rcode())}"
            continue
        return [
            str(record.target)
            for records in (*answer.authority, *answer.answer)
            if records.rdtype == dns.rdatatype.NS and str(records.name).rstrip(".").lower() == domain
            for record in records
        ]
    raise OSError(failure)


def _servers(name: str) -> Iterator[tuple[str, int]]:
    """Return the addresses and the port of the servers of the zone that contains a name."""
    import dns.exception
    import dns.resolver

    try:
        zone = dns.resolver.zone_for_name(name, lifetime=LIMIT_SECONDS)
        found = list(dns.resolver.resolve(zone, "NS", lifetime=TIMEOUT_SECONDS))
    except dns.exception.DNSException as error:
        raise OSError(" ".join(str(error).split())) from error
    for server in found:
        try:
            addresses = list(dns.resolver.resolve(str(server.target), "A", lifetime=TIMEOUT_SECONDS))
        except dns.exception.DNSException:
            continue
        for address in addresses:
            yield str(address), DNS

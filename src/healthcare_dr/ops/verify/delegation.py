"""Read the delegation of a domain from the name servers of its parent zone."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

TIMEOUT_SECONDS: Final = 2.0
LIMIT_SECONDS: Final = 20.0
DNS: Final = 53


def name_servers(domain: str) -> Sequence[str]:
    """The host names; none without a delegation. Raises OSError when none of the parent's servers answers."""
    return first_delegation(domain, _servers(domain.partition(".")[2]))


def first_delegation(
    domain: str,
    servers: Iterable[tuple[str, int]],
    *,
    timeout: float = TIMEOUT_SECONDS,
    limit_seconds: float = LIMIT_SECONDS,
) -> Sequence[str]:
    """Return the delegation from the first address and port that responds within `timeout` seconds.

    Raises OSError: none responds within the limit, with the last error.
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
            failure = f"{address} answers {dns.rcode.to_text(answer.rcode())}"
            continue
        return [
            str(record.target)
            for records in (*answer.authority, *answer.answer)
            if records.rdtype == dns.rdatatype.NS and str(records.name).rstrip(".").lower() == domain
            for record in records
        ]
    raise OSError(failure)


def _servers(zone: str) -> Iterator[tuple[str, int]]:
    import dns.exception
    import dns.resolver

    try:
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

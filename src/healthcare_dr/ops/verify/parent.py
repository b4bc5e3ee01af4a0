"""To which name servers a domain's parent zone delegates it, asked of the parent's own servers."""

from collections.abc import Sequence
from typing import Final

TIMEOUT_SECONDS: Final = 3.0


def name_servers(domain: str) -> Sequence[str]:
    """The host names; none without a delegation. Raises OSError when nobody answers."""
    import dns.exception
    import dns.message
    import dns.query
    import dns.rdatatype
    import dns.resolver

    parent = domain.partition(".")[2]
    try:
        for server in dns.resolver.resolve(parent, "NS", lifetime=TIMEOUT_SECONDS):
            for address in dns.resolver.resolve(str(server.target), "A", lifetime=TIMEOUT_SECONDS):
                query = dns.message.make_query(domain, "NS")
                answer = dns.query.udp_with_fallback(query, str(address), timeout=TIMEOUT_SECONDS)[0]
                found = [*answer.authority, *answer.answer]
                return [
                    str(record.target)
                    for records in found
                    if records.rdtype == dns.rdatatype.NS and str(records.name).rstrip(".") == domain
                    for record in records
                ]
    except dns.exception.DNSException as error:
        raise OSError(" ".join(str(error).split())) from error
    raise OSError(f"{parent} has no name servers")

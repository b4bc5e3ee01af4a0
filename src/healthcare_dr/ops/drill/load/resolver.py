"""Resolve names as clients do: with one DNS server, and answers cached for their TTL or forever."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from healthcare_dr.errors import DeploymentError

if TYPE_CHECKING:
    import dns.message

TIMEOUT_SECONDS: Final = 1.0
LONGEST_CHAIN: Final = 8


class ResolutionError(DeploymentError):
    """A name has no address at present, or the server did not respond."""


@dataclass(frozen=True)
class Answer:
    """The result of a resolution: the last name of the CNAME chain, an address, and the TTL in seconds."""

    target: str
    address: str
    port: int
    ttl: float


class Resolver(Protocol):
    """Resolves names."""

    async def resolve(self, name: str) -> Answer:
        """Return the current answer; raises `ResolutionError`."""


@dataclass(frozen=True, kw_only=True)
class DnsResolver:
    """Queries `server` (address, port) without a cache; every address is used with `port`."""

    server: tuple[str, int]
    port: int

    async def resolve(self, name: str) -> Answer:
        """Return the end of the name's CNAMEs and its first address (RFC 1034, section 3.6.2).

        Raises:
            ResolutionError: no answer in time, an error, or no address.
        """
        target = name.rstrip(".").lower()
        ttls: list[int] = []
        links, addresses = await self._query(target)
        queried = target
        for _ in range(LONGEST_CHAIN):
            if target in addresses:
                address, ttl = addresses[target]
                return Answer(target, address, self.port, float(min([ttl, *ttls])))
            if target in links:
                target, ttl = links[target]
                ttls.append(ttl)
            elif target != queried:
                queried = target
                links, addresses = await self._query(target)
            else:
                break
        raise ResolutionError(f"{name} has no address at {self.server[0]}:{self.server[1]}; look at its records")

    async def _query(self, name: str) -> tuple[dict[str, tuple[str, int]], dict[str, tuple[str, int]]]:
        import dns.asyncquery
        import dns.exception
        import dns.message
        import dns.rcode

        where, port = self.server
        try:
            answer, _ = await dns.asyncquery.udp_with_fallback(
                dns.message.make_query(name, "A"), where, timeout=TIMEOUT_SECONDS, port=port
            )
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise ResolutionError(
                f"no DNS answer for {name} from {where}:{port} ({type(error).__name__}); does it run?"
            ) from error
        if answer.rcode() != dns.rcode.NOERROR:
            raise ResolutionError(f"{where}:{port} answered {dns.rcode.to_text(answer.rcode())} for {name}")
        return _records(answer)


def _records(answer: "dns.message.Message") -> tuple[dict[str, tuple[str, int]], dict[str, tuple[str, int]]]:
    import dns.rdatatype

    links: dict[str, tuple[str, int]] = {}
    addresses: dict[str, tuple[str, int]] = {}
    for found in answer.answer:
        owner = found.name.to_text(omit_final_dot=True).lower()
        text = found[0].to_text()
        if found.rdtype == dns.rdatatype.CNAME:
            links[owner] = (text.rstrip(".").lower(), found.ttl)
        elif found.rdtype == dns.rdatatype.A:
            addresses[owner] = (text, found.ttl)
    return links, addresses


@dataclass(frozen=True)
class FixedResolver:
    """Resolves every name to the same answer."""

    answer: Answer

    async def resolve(self, name: str) -> Answer:
        """Return the answer."""
        del name
        return self.answer


class CachingResolver:
    """The cache of one client. With `ignore_ttl`, an answer never expires, as in JVMs with a wrong setting."""

    def __init__(self, *, resolver: Resolver, clock: Callable[[], float], ignore_ttl: bool = False) -> None:
        self._resolver, self._clock, self._ignore_ttl = resolver, clock, ignore_ttl
        self._cached: dict[str, tuple[float, Answer]] = {}

    async def resolve(self, name: str) -> Answer:
        """Return the cached answer while it is valid, else a new one. Raises `ResolutionError`."""
        cached = self._cached.get(name)
        if cached is not None and (self._ignore_ttl or self._clock() < cached[0]):
            return cached[1]
        self._cached.pop(name, None)
        answer = await self._resolver.resolve(name)
        self._cached[name] = (self._clock() + answer.ttl, answer)
        return answer

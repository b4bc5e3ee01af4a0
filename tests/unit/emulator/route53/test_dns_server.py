"""Tests of the name server with DNS clients."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from healthcare_dr.emulator.route53.model import CheckConfig, Record, Snapshot, Zone
from healthcare_dr.errors import EmulatorError
from unit.emulator.route53.planes import data_plane, serving

SHARED = "api.clinic.example"
EAST = "abc123.execute-api.us-east-1.amazonaws.com"
# Disabled and inverted: always unhealthy.
DOWN = CheckConfig(id="down", type="HTTPS", disabled=True, inverted=True, name="west")
Resolve = Callable[..., dns.message.Message]


def weighted(region: str, api: str, weight: int, check_id: str | None) -> Record:
    return Record(
        name=SHARED,
        type="CNAME",
        ttl=10,
        values=(f"{api}.execute-api.{region}.amazonaws.com",),
        set_identifier=region,
        weight=weight,
        check_id=check_id,
    )


SNAPSHOT = Snapshot(
    zones=(
        Zone(
            id="Z1",
            name="clinic.example",
            records=(weighted("us-east-1", "abc123", 70, None), weighted("us-west-2", "def456", 30, "down")),
        ),
    ),
    checks={"down": DOWN},
)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(SNAPSHOT) as (port, plane):
        assert plane.zone_targets() == {SHARED: {"us-east-1": "abc123", "us-west-2": "def456"}}
        assert not plane.checks()["down"].healthy
        yield port


@pytest.fixture(params=["udp", "tcp"])
def resolve(request: pytest.FixtureRequest, port: int) -> Resolve:
    def resolve(name: str, kind: str = "A") -> dns.message.Message:
        send = dns.query.udp if request.param == "udp" else dns.query.tcp
        return send(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=5)

    return resolve


def test_shared_name_resolves_to_the_healthy_regions_address(resolve: Resolve) -> None:
    for _ in range(20):
        answer = resolve(SHARED)
        assert [line.to_text() for line in answer.answer] == [
            f"{SHARED}. 5 IN CNAME {EAST}.",
            f"{EAST}. 30 IN A 127.0.0.2",
        ]
        assert answer.flags & dns.flags.AA


def test_endpoint_has_its_regions_address(resolve: Resolve) -> None:
    answer = resolve("def456.execute-api.us-west-2.amazonaws.com")
    assert [line.to_text().split()[1:] for line in answer.answer] == [["30", "IN", "A", "127.0.0.3"]]


@pytest.mark.parametrize(("name", "kind"), [(EAST, "AAAA"), ("clinic.example", "TXT")])
def test_name_without_the_type_returns_no_data(resolve: Resolve, name: str, kind: str) -> None:
    answer = resolve(name, kind)
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer
    assert " IN SOA " in answer.authority[0].to_text()


def test_unknown_name_returns_nxdomain(resolve: Resolve) -> None:
    answer = resolve("nothing.clinic.example")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert " IN SOA " in answer.authority[0].to_text()


@pytest.mark.parametrize("name", ["example.com", "abc.execute-api.eu-west-1.amazonaws.com", "otherclinic.example"])
def test_other_names_are_refused(resolve: Resolve, name: str) -> None:
    assert resolve(name).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("kind", ["SOA", "NS"])
def test_zone_has_soa_and_ns_records(resolve: Resolve, kind: str) -> None:
    assert f" IN {kind} " in resolve("clinic.example", kind).answer[0].to_text()


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed (Debian: bind9-dnsutils)")
def test_dig_parses_the_responses(port: int) -> None:
    found = subprocess.run(
        ["dig", "+short", "@127.0.0.1", "-p", str(port), SHARED],  # noqa: S607 - the machine's own
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert found.stdout.split() == [f"{EAST}.", "127.0.0.2"]


def test_taken_port_raises_an_error(port: int) -> None:
    with pytest.raises(EmulatorError, match="choose another port"):
        asyncio.run(data_plane(port, lambda: SNAPSHOT).start())

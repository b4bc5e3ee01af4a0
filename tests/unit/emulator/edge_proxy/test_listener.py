"""Tests of an edge listener: it forwards to the APIs of its region, and applies each fault."""

import json
import socket
import ssl
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.emulator.edge_proxy.tls import parse_server_name
from healthcare_dr.emulator.fault_state import OPEN, EdgeFault
from healthcare_dr.emulator.services.middleware import CALLED_HEADER
from healthcare_dr.errors import EmulatorError
from unit.emulator.aws import EAST, REGIONS, WEST, Aws, eventually
from unit.emulator.edge import EdgeApis, get


def test_request_is_forwarded_unchanged(edge: EdgeApis) -> None:
    name = edge.name(EAST)
    with edge.connect(EAST, name) as connection:
        headers = "Authorization: Bearer abc\r\nX-Twice: one\r\nX-Twice: two\r\n"
        status, body = get(connection, name, "/fhir/Patient%20x?a=1&b=%2F", headers)
    seen = json.loads(body)
    assert status == 200
    assert seen["rawPath"] in ("/fhir/Patient%20x", "/fhir/Patient x")
    assert seen["rawQueryString"] == "a=1&b=%2F"
    assert seen["headers"]["authorization"] == "Bearer abc"
    assert "two" in seen["headers"]["x-twice"]


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("port", ["", ":4568", ":443"])
def test_function_receives_the_called_host_name(edge: EdgeApis, region: str, port: str) -> None:
    name = edge.name(region)
    with edge.connect(region, name) as connection:
        _, body = get(connection, name + port, headers=f"{CALLED_HEADER.decode()}: evil.example\r\n")
    seen = json.loads(body)
    called = name + port.removesuffix(":443")
    assert (seen["requestContext"]["domainName"], seen["headers"]["host"], seen["rawPath"]) == (called, called, "/echo")
    assert CALLED_HEADER.decode() not in seen["headers"]
    assert "evil.example" not in body.decode()


@pytest.mark.parametrize("region", REGIONS)
def test_listener_serves_only_apis_of_its_region(edge: EdgeApis, region: str) -> None:
    other = WEST if region == EAST else EAST
    assert edge.get(region)[0] == 200
    foreign = f"{edge.apis[other]}.execute-api.{region}.amazonaws.com"
    assert edge.get(region, name=foreign) == (403, b'{"message":"Forbidden"}')


# The error of a client depends on whether the alert or the end of the connection arrives first.
BROKEN_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


@pytest.mark.trap(31)
def test_name_of_another_region_has_no_certificate(edge: EdgeApis) -> None:
    for name in (edge.name(WEST), "example.com", f"a.b.execute-api.{EAST}.amazonaws.com"):
        with pytest.raises(BROKEN_OFF):
            edge.connect(EAST, name)


def test_dot_segments_do_not_leave_the_api(edge: EdgeApis) -> None:
    assert edge.get(EAST, "/../../../_ministack/ready")[0] == 404


@pytest.mark.requirement("R4.2")
def test_refused_mode_resets_connections_and_refuses_new_ones(edge: EdgeApis) -> None:
    name = edge.name(EAST)
    with edge.connect(EAST) as kept:
        assert get(kept, name)[0] == 200
        edge.emulator.set_edge_fault(EAST, EdgeFault(mode="refused"))
        _expect_reset(kept)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(edge.emulator.edge_addresses()[EAST], timeout=15)
    assert edge.serves(WEST)
    edge.emulator.set_edge_fault(EAST, OPEN)
    assert eventually(lambda: edge.serves(EAST))


@pytest.mark.requirement("R4.2")
def test_blackhole_mode_never_responds_and_resets_at_its_end(edge: EdgeApis) -> None:
    name = edge.name(EAST)
    with edge.connect(EAST, name) as kept:
        assert get(kept, name)[0] == 200
        edge.emulator.set_edge_fault(EAST, EdgeFault(mode="blackhole"))
        assert eventually(lambda: _blackholed(edge))
        kept.settimeout(1)
        with pytest.raises(TimeoutError):
            get(kept, name)
        with socket.create_connection(edge.emulator.edge_addresses()[EAST], timeout=15) as waiting:
            edge.emulator.set_edge_fault(EAST, OPEN)
            with pytest.raises(ConnectionResetError):
                waiting.recv(1)
        kept.settimeout(15)
        _expect_reset(kept)
    assert eventually(lambda: edge.serves(EAST))


def _expect_reset(connection: ssl.SSLSocket) -> None:
    # Below TLS, which treats a reset as an end.
    with socket.socket(fileno=connection.detach()) as plain:
        plain.settimeout(15)
        with pytest.raises(ConnectionResetError):
            plain.recv(1)


def _blackholed(edge: EdgeApis) -> bool:
    try:
        edge.connect(EAST, edge.name(EAST), timeout=1).close()
    except TimeoutError:
        return True
    return False


@pytest.mark.requirement("R4.2")
def test_errors_mode_returns_503_on_open_connections(edge: EdgeApis) -> None:
    name = edge.name(EAST)
    with edge.connect(EAST, name) as kept:
        assert get(kept, name)[0] == 200
        edge.emulator.set_edge_fault(EAST, EdgeFault(mode="responds"))
        assert eventually(lambda: get(kept, name) == (503, b'{"message":"Service Unavailable"}'))
        edge.emulator.set_edge_fault(EAST, OPEN)
        assert eventually(lambda: get(kept, name)[0] == 200)


@pytest.mark.requirement("R4.2")
def test_slow_mode_delays_responses(edge: EdgeApis) -> None:
    edge.emulator.set_edge_fault(EAST, EdgeFault(mode="slow", delay_seconds=60))
    assert eventually(lambda: not edge.serves(EAST, timeout=3))
    with edge.connect(EAST, timeout=3) as connection, pytest.raises(TimeoutError):
        get(connection, edge.name(EAST))
    edge.emulator.set_edge_fault(EAST, OPEN)
    assert eventually(lambda: edge.serves(EAST))


def test_shared_name_is_forwarded_to_the_regions_api(edge: EdgeApis, patched: Aws) -> None:
    route53, shared = patched("route53"), "api.healthcare-dr-edge.com"
    zone = route53.create_hosted_zone(Name="healthcare-dr-edge.com", CallerReference="edge")["HostedZone"]["Id"]
    records = [
        {
            "Name": shared,
            "Type": "CNAME",
            "SetIdentifier": region,
            "Weight": 50,
            "TTL": 10,
            "ResourceRecords": [{"Value": edge.name(region)}],
        }
        for region in REGIONS
    ]
    changes = [{"Action": "CREATE", "ResourceRecordSet": record} for record in records]
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})
    for region in REGIONS:
        assert eventually(partial(edge.serves, region, name=shared))


def test_unknown_region_is_named_in_the_error(edge: EdgeApis) -> None:
    with pytest.raises(EmulatorError, match="eu-west-1 has no edge listener: choose us-east-1 or us-west-2"):
        edge.emulator.set_edge_fault("eu-west-1", OPEN)
    with pytest.raises(EmulatorError, match="cannot be 'ajar'"):
        EdgeFault(mode="ajar")  # type: ignore[arg-type] # a JSON value or a fake


@pytest.fixture
def neighbor(edge: EdgeApis, patched: Aws) -> EdgeApis:
    """The API of another environment, behind the same listeners."""
    function = patched("lambda").get_function(FunctionName=f"echo-{EAST}")["Configuration"]["FunctionArn"]
    found = EdgeApis(edge.emulator, {EAST: patched.api(function, {"$default": {}})})
    # The listener reloads the list of APIs at most once a second.
    assert eventually(lambda: found.serves(EAST))
    return found


@pytest.mark.parametrize("fault", [EdgeFault(mode="refused"), EdgeFault(mode="blackhole"), EdgeFault(mode="responds")])
def test_fault_of_one_host_does_not_affect_others(edge: EdgeApis, neighbor: EdgeApis, fault: EdgeFault) -> None:
    name = edge.name(EAST)
    with edge.connect(EAST) as kept, neighbor.connect(EAST) as other:
        assert get(kept, name)[0] == get(other, neighbor.name(EAST))[0] == 200
        edge.emulator.set_edge_fault(EAST, fault, hosts=[name])
        assert eventually(lambda: not edge.serves(EAST, timeout=1))
        if fault.mode == "refused":
            _expect_reset(kept)
        elif fault.mode == "blackhole":
            kept.settimeout(0.5)
            with pytest.raises(TimeoutError):
                get(kept, name)
        assert get(other, neighbor.name(EAST))[0] == 200
        assert neighbor.serves(EAST)
        edge.emulator.set_edge_fault(EAST, OPEN, hosts=[name])
        assert eventually(lambda: edge.serves(EAST))
        if fault.mode == "blackhole":
            kept.settimeout(15)
            _expect_reset(kept)
        assert get(other, neighbor.name(EAST))[0] == 200


def test_blackholed_connection_is_reset_when_the_fault_of_its_host_ends(edge: EdgeApis, neighbor: EdgeApis) -> None:
    edge.emulator.set_edge_fault(EAST, EdgeFault(mode="blackhole"), hosts=[edge.name(EAST)])
    assert eventually(lambda: not edge.serves(EAST, timeout=1))
    with socket.create_connection(edge.emulator.edge_addresses()[EAST], timeout=15) as waiting:
        waiting.sendall(sent_hello(edge.name(EAST)))
        assert neighbor.serves(EAST)
        edge.emulator.set_edge_fault(EAST, OPEN, hosts=[edge.name(EAST)])
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)


def test_two_hosts_have_different_faults(edge: EdgeApis, neighbor: EdgeApis) -> None:
    edge.emulator.set_edge_fault(EAST, EdgeFault(mode="responds"), hosts=[edge.name(EAST)])
    edge.emulator.set_edge_fault(EAST, EdgeFault(mode="refused"), hosts=[neighbor.name(EAST)])
    assert eventually(lambda: not neighbor.serves(EAST, timeout=1))
    assert eventually(lambda: edge.get(EAST)[0] == 503)
    edge.emulator.set_edge_fault(EAST, OPEN, hosts=[neighbor.name(EAST)])
    assert eventually(lambda: neighbor.serves(EAST))
    assert edge.get(EAST)[0] == 503


def sent_hello(name: str) -> bytes:
    outgoing = ssl.MemoryBIO()
    begun = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        begun.do_handshake()
    return outgoing.read()


def test_server_name_is_parsed_once_the_client_hello_is_complete() -> None:
    whole = sent_hello("Abc.execute-api.us-east-1.amazonaws.com")
    assert parse_server_name(whole) == "abc.execute-api.us-east-1.amazonaws.com"
    assert parse_server_name(whole + b"more") == "abc.execute-api.us-east-1.amazonaws.com"
    for count in range(len(whole)):
        assert parse_server_name(whole[:count]) is None, count


@given(st.binary(max_size=300))
def test_other_bytes_have_no_server_name(sent: bytes) -> None:
    assert parse_server_name(sent) in (None, "")
    assert parse_server_name(b"\x16\x03\x01" + len(sent).to_bytes(2, "big") + sent) in (None, "")

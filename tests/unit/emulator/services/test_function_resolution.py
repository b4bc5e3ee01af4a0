"""Tests of name resolution in functions: the names of APIs lead to the edge listeners."""

import json
import socket
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from healthcare_dr.emulator.fault_state import EdgeFault
from healthcare_dr.emulator.services import function_resolution
from unit.emulator.edge import REGIONS, EdgeApis, eventually

Clients = Callable[..., Any]

EAST, WEST = REGIONS
REQUESTS = """
import http.client

def handler(event, context):
    print("asking")
    connection = http.client.HTTPSConnection(event["host"], event.get("port", 443), timeout=1)
    try:
        connection.request("GET", "/echo")
        return connection.getresponse().status
    except OSError as error:
        return type(error).__name__
"""


@pytest.fixture(scope="module")
def asking(patched: Clients, make_function: Callable[..., str]) -> Callable[..., object]:
    arn = make_function(patched, uuid.uuid4().hex, REQUESTS)

    def ask(host: str, **event: object) -> object:
        payload = json.dumps({"host": host, **event})
        return json.loads(patched("lambda").invoke(FunctionName=arn, Payload=payload)["Payload"].read())

    return ask


def test_function_reaches_the_api_of_each_region(edge: EdgeApis, asking: Callable[..., object]) -> None:
    for region in REGIONS:
        assert asking(edge.name(region)) == 200


def test_function_meets_faults_of_the_edge_listener(edge: EdgeApis, asking: Callable[..., object]) -> None:
    edge.emulator.set_edge_fault(WEST, EdgeFault(mode="refused"))
    assert eventually(lambda: asking(edge.name(WEST)) == "ConnectionRefusedError")
    assert asking(edge.name(EAST)) == 200
    edge.emulator.set_edge_fault(WEST, EdgeFault(mode="blackhole"))
    assert eventually(lambda: asking(edge.name(WEST)) == "TimeoutError")
    edge.emulator.set_edge_fault(WEST, EdgeFault(mode="errors"))
    assert eventually(lambda: asking(edge.name(WEST)) == 503)


def test_api_of_another_region_or_port_does_not_resolve(edge: EdgeApis, asking: Callable[..., object]) -> None:
    assert asking("abc.execute-api.eu-west-1.amazonaws.com") == "gaierror"
    assert asking(edge.name(EAST), port=80) == "gaierror"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object]]:
    """Record the calls of the inner resolver."""
    calls: list[tuple[object, object]] = []

    def inner(host: object, service: object, *_: object, **__: object) -> list[object]:
        calls.append((host, service))
        return []

    monkeypatch.setattr(socket, "getaddrinfo", inner)
    function_resolution.install({EAST: "127.0.0.2"}, 4568)
    return calls


def test_other_names_resolve_normally(installed: list[tuple[object, object]]) -> None:
    names = (
        "localhost",
        "127.0.0.1",
        "s3.us-east-1.amazonaws.com",
        "execute-api.us-east-1.amazonaws.com.example",
        None,
    )
    for name in names:
        socket.getaddrinfo(name, 443)
    assert installed == [(name, 443) for name in names]


@pytest.mark.parametrize("service", [443, "443", "https"])
def test_api_name_resolves_to_the_edge_listener(installed: list[tuple[object, object]], service: int | str) -> None:
    socket.getaddrinfo(f"AbC.execute-api.{EAST}.amazonaws.com", service)
    socket.getaddrinfo(f"abc.execute-api.{EAST}.amazonaws.com.", port=service)
    assert installed == [("127.0.0.2", 4568)] * 2


def test_name_with_final_dot_stays_on_this_machine(installed: list[tuple[object, object]]) -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(f"abc.execute-api.{WEST}.amazonaws.com.", 443)
    assert installed == []

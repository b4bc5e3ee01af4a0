"""The probe of a region's health and its time limits, with servers that respond, hang and refuse."""

import socket
import ssl
import threading
from collections.abc import Callable

import pytest
import trustme

from patient_api.region.sentinel import CONNECT_SECONDS, RESPONSE_SECONDS, probe
from unit.patient_api.fakes.tls import HOST, Server, Serving


def responding(context: ssl.SSLContext, *statuses: str) -> Callable[[socket.socket], None]:
    left = list(statuses)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            request = inner.recv(65536)
            status = left.pop(0) if request.startswith(b"GET /health HTTP/1.1\r\n") else "400 Bad Request"
            inner.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    return serve


def failed(server: Server, **limits: float) -> str | None:
    return probe(HOST, port=server.port, sleep=lambda _: None, **limits)


def test_endpoint_with_status_200_is_healthy(serving: Serving, trusted: ssl.SSLContext) -> None:
    server = serving(responding(trusted, "200 OK"))
    assert failed(server) is None
    assert server.served == 1


def test_failed_attempt_is_repeated(serving: Serving, trusted: ssl.SSLContext) -> None:
    server = serving(responding(trusted, "503 Busy", "503 Busy", "200 OK"))
    assert failed(server) is None
    assert server.served == 3


@pytest.mark.parametrize("status", ["503 Service Unavailable", "302 Found", "404 Not Found"])
def test_other_status_is_a_failure(serving: Serving, trusted: ssl.SSLContext, status: str) -> None:
    server = serving(responding(trusted, *[status] * 3))
    assert failed(server) == f"HTTP{status[:3]}"
    assert server.served == 3


def test_refused_connection_is_a_failure(serving: Serving) -> None:
    server = serving(lambda _: None)
    server.listener.close()
    assert failed(server) == "ConnectionRefusedError"


def test_untrusted_certificate_is_a_failure(serving: Serving, trusted: ssl.SSLContext) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(HOST).configure_cert(context)
    assert failed(serving(responding(context, *["200 OK"] * 3))) == "SSLCertVerificationError"


@pytest.mark.trap(24)
def test_probe_has_the_time_limits_of_route_53(serving: Serving, trusted: ssl.SSLContext) -> None:
    assert (CONNECT_SECONDS, RESPONSE_SECONDS) == (4.0, 2.0)

    def hangs(connection: socket.socket) -> None:
        with trusted.wrap_socket(connection, server_side=True) as inner:
            inner.recv(65536)
            waits(connection)

    def waits(_: socket.socket) -> None:
        # Bound now, because the next round of the loop replaces them.
        released, over = release, ended
        released.wait(60)
        over.set()

    # The other limit is longer than the timeout of the test.
    for serve, connect, response in ((hangs, 60.0, 0.1), (waits, 0.1, 600.0)):
        release, ended = threading.Event(), threading.Event()
        assert failed(serving(serve), connect_seconds=connect, response_seconds=response) == "TimeoutError"
        assert not ended.is_set()
        release.set()

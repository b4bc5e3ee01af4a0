"""Tests of the client of the processes' private routes."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from healthcare_dr.emulator.admin_api import get
from healthcare_dr.emulator.configuration import Layout
from healthcare_dr.errors import EmulatorError

Serve = Callable[[bytes], str]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.keys.mkdir(parents=True)
    made.root_secret.parent.mkdir(parents=True, exist_ok=True)
    made.root_secret.write_text("secret", encoding="ascii")
    return made


@pytest.fixture
def serve(layout: Layout) -> Iterator[Serve]:
    """Start a server that responds to one request with these bytes."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(layout.authority_certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def answering(answer: bytes) -> str:
        def once() -> None:
            accepted, _ = listener.accept()
            with context.wrap_socket(accepted, server_side=True) as connection:
                connection.recv(65536)
                connection.sendall(answer)

        threads.append(threading.Thread(target=once, daemon=True))
        threads[-1].start()
        return f"https://127.0.0.1:{listener.getsockname()[1]}"

    yield answering
    for thread in threads:
        thread.join(10)
    listener.close()


def test_response_is_parsed_as_json(layout: Layout, serve: Serve) -> None:
    address = serve(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}')
    assert get(layout, address, "/x", subject="the subject") == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{x", "Expecting property name"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}", "IncompleteRead"),
        (b"hello\r\n", "hello"),
        (b"", "closed connection without response"),
    ],
)
def test_invalid_response_raises_a_one_line_error(layout: Layout, serve: Serve, answer: bytes, message: str) -> None:
    with pytest.raises(EmulatorError, match=f"the embedded AWS did not report the subject: .*{message}") as caught:
        get(layout, serve(answer), "/x", subject="the subject")
    assert "\n" not in str(caught.value)

"""An HTTP server on loopback, with responses that a test gives."""

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """A request; the names of its headers are in lower case. `connection` is the client's port."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    connection: int = 0


@dataclass(frozen=True)
class Response:
    """A response of JSON, unless the headers give another type."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Respond = Callable[[Request], Response | None]
"""Returns None to close the connection without a response."""


@contextmanager
def http_server(respond: Respond, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a server, and yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = respond(Request(self.command, self.path, body, headers, self.client_address[1]))
            if response is None:
                self.close_connection = True
                return
            self.send_response(response.status)
            length = {"Content-Length": str(len(response.body))}
            for name, value in ({"Content-Type": "application/json"} | dict(response.headers) | length).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _respond  # noqa: N815 - the names of the standard library

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

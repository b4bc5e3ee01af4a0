"""A stand-in for the API of one region, on loopback: keeps what it is sent by its Idempotency-Key, as the real one."""

import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, dict[str, str], dict[str, Any]]
Hinder = Callable[[str, int], Answer | None]
"""What is answered instead, given a call's method and its number from 1."""


def hindering(answer: Answer, *, numbers: Callable[[int], bool] = lambda number: number > 0) -> Hinder:
    """Answers that to calls of these numbers."""
    return lambda _, number: answer if numbers(number) else None


def unhindered(method: str, number: int) -> Answer | None:
    return None


@dataclass
class SeedApi:
    """`created` is by Idempotency-Key, `uploaded` by document."""

    url: str
    hinder: Hinder = unhindered
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: dict[str, bytes] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        with self.lock:
            self.calls.append(f"{method} {path}")
            self.headers.append(headers)
            hindered = self.hinder(method, len(self.calls))
            if hindered is not None:
                return hindered
            return self._upload(path, body, headers) if method == "PUT" else self._create(path, body, headers)

    def _create(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        key, kind = headers["idempotency-key"], path.removeprefix("/fhir/")
        if self.sent.setdefault(key, body) != body:
            return 422, {}, outcome("The Idempotency-Key was used with another request before.")
        made = self.created.setdefault(key, json.loads(body) | {"id": hashlib.sha256(key.encode()).hexdigest()[:16]})
        assert made["resourceType"] == kind
        if kind != "DocumentReference" or made["id"] in self.uploaded:
            return 201, {}, made
        assert any(f"Patient/{patient['id']}" == made["subject"]["reference"] for patient in self.created.values())
        offer = {
            "url": "urn:healthcare-dr:upload",
            "extension": [
                {"url": "method", "valueCode": "PUT"},
                {"url": "address", "valueUrl": f"{self.url}/bucket/{made['id']}?X-Amz-Signature=0"},
                {"url": "header", "valueString": "Content-Type: text/plain"},
                {"url": "header", "valueString": "If-None-Match: *"},
                {"url": "expires", "valueInstant": "2026-01-01T00:15:00.000Z"},
            ],
        }
        shown = json.loads(json.dumps(made))
        shown["content"][0]["attachment"]["extension"].append(offer)
        return 201, {}, shown

    def _upload(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        assert "authorization" not in headers
        assert headers["if-none-match"] == "*"
        name = path.removeprefix("/bucket/").partition("?")[0]
        status = 412 if name in self.uploaded else 200
        self.uploaded.setdefault(name, body)
        return status, {}, {}


def outcome(diagnostics: str) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "diagnostics": diagnostics}]}


@contextmanager
def serving() -> Iterator[SeedApi]:
    """The stand-in, running."""
    api = SeedApi(url="")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, content = api.answer(self.command, self.path, body, headers)
            data = json.dumps(content).encode()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

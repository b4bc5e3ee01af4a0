"""A fake API of one region on loopback, which identifies creations by their Idempotency-Key as the real one."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from unit.http_server import Request, Response, http_server

Hinder = Callable[[str, int], Response | None]
"""Returns another response, for the method of a request and its number from 1; None for the regular one."""


def hindering(
    status: int, content: Any = None, *, numbers: Callable[[int], bool] = lambda number: number > 0, **headers: str
) -> Hinder:
    """Return a response for requests with these numbers. `headers` are named in Python's spelling."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _, number: json_response(status, content or {}, named) if numbers(number) else None


def unhindered(method: str, number: int) -> Response | None:
    return None


def json_response(status: int, content: Any, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    return Response(status, json.dumps(content).encode(), headers)


@dataclass
class SeedApi:
    """The API. `created` and `sent` are by Idempotency-Key, `uploaded` is by document."""

    url: str
    hinder: Hinder = unhindered
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: dict[str, bytes] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, request: Request) -> Response:
        with self.lock:
            self.calls.append(f"{request.method} {request.path}")
            self.headers.append(request.headers)
            hindered = self.hinder(request.method, len(self.calls))
            return hindered or (self._upload(request) if request.method == "PUT" else self._create(request))

    def _create(self, request: Request) -> Response:
        key, kind = request.headers["idempotency-key"], request.path.removeprefix("/fhir/")
        if self.sent.setdefault(key, request.body) != request.body:
            return json_response(422, outcome("The Idempotency-Key was used with another request before."))
        made = self.created.setdefault(
            key, json.loads(request.body) | {"id": hashlib.sha256(key.encode()).hexdigest()[:16]}
        )
        assert made["resourceType"] == kind
        if kind != "DocumentReference" or made["id"] in self.uploaded:
            return json_response(201, made)
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
        return json_response(201, shown)

    def _upload(self, request: Request) -> Response:
        assert "authorization" not in request.headers
        assert request.headers["if-none-match"] == "*"
        name = request.path.removeprefix("/bucket/").partition("?")[0]
        status = 412 if name in self.uploaded else 200
        self.uploaded.setdefault(name, request.body)
        return Response(status)


def outcome(diagnostics: str) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "diagnostics": diagnostics}]}


@contextmanager
def serving() -> Iterator[SeedApi]:
    """Run the fake API."""
    api = SeedApi(url="")
    with http_server(api.respond) as api.url:
        yield api

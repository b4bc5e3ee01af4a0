"""Two little regions that really speak HTTPS, and clients of them."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from typing import Any

from healthcare_dr.ops.drill.load.generator import LoadGenerator
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.drill.load.optimistic_update import MARK
from healthcare_dr.ops.drill.load.resolver import Answer

NAME = "api.healthcare-dr-test.com"
EAST, WEST = "us-east-1", "us-west-2"
HOSTS = {EAST: f"a.execute-api.{EAST}.amazonaws.com", WEST: f"b.execute-api.{WEST}.amazonaws.com"}
ADDRESSES = {EAST: "127.0.0.2", WEST: "127.0.0.3"}


class Region:
    """Answers reads with 200, creations with 201; `refused` says how many of the next are told 503.

    It keeps the versions of `kept` patients: `faster` are updates that somebody else makes just ahead of the next ones,
    and `lost` is how many of the next answers to an update get lost.
    """

    def __init__(self, region: str) -> None:
        self.region, self.port, self.refused, self.readable, self.hang = region, 0, 0, True, False
        self.seen: list[tuple[str, str, str, str]] = []
        self.upload_status = 200
        self.names: set[str | None] = set()
        self.announced: dict[str, Any] = {}
        self.bodies: list[dict[str, Any]] = []
        self.kept: dict[str, list[dict[str, Any]]] = {}
        self.faster, self.lost = 0, 0

    def keep(self, id: str, resource: dict[str, Any]) -> None:
        versions = self.kept.setdefault(id, [])
        meta = {"versionId": f"{len(versions):013d}-0000-{self.region}"}
        versions.append({**resource, "resourceType": "Patient", "id": id, "meta": meta})

    def update(self, id: str, if_match: str, body: bytes) -> int:
        if self.faster:
            self.faster -= 1
            self.keep(id, self.kept[id][-1] | {"extension": [{"url": MARK, "valueString": "somebody"}]})
        if if_match != f'W/"{self.kept[id][-1]["meta"]["versionId"]}"':
            return 412
        self.keep(id, json.loads(body))
        self.lost -= 1
        return 200 if self.lost < 0 else 503

    async def __call__(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        method, path, host = scope["method"], scope["path"], headers["host"]
        self.seen.append((method, path, host, headers.get("idempotency-key", "")))
        status, answer = (self.upload_status if method == "PUT" else 200), b"{}"
        while self.hang:
            await asyncio.sleep(0.05)
        if host == NAME and self.refused:
            self.refused -= 1
            status = 503
        elif path.startswith("/fhir/Patient/") and self.kept:
            id = path.split("/")[3]
            status = 404
            if id in self.kept:
                status = 200 if method == "GET" else self.update(id, headers["if-match"], body)
                answer = json.dumps(self.kept[id][-1]).encode()
        elif method == "POST":
            self.bodies.append(json.loads(body))
            status, answer = 201, json.dumps({"id": f"{self.region}-{len(self.bodies)}", **self.announced}).encode()
        elif host in HOSTS.values() and not self.readable:
            status = 404
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": answer})


class Script:
    """The resolver: what the test says."""

    def __init__(self, regions: dict[str, Region], region: str, ttl: float) -> None:
        self.regions, self.region, self.ttl = regions, region, ttl

    async def resolve(self, name: str) -> Answer:
        assert name == NAME
        return Answer(HOSTS[self.region], ADDRESSES[self.region], self.regions[self.region].port, self.ttl)


def until(done: Callable[[], bool]) -> None:
    # Only so that a test that would wait for ever ends: far more than a busy machine needs.
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def prober(script: Script, trust: ssl.SSLContext, ledger: Ledger, **other: Any) -> LoadGenerator:
    given: dict[str, Any] = {
        "name": NAME, "make_resolver": lambda: script, "token": "t", "ca": trust, "clock": time.monotonic,
        "ledger": ledger, "drill_id": "d1", "rate": 40, "clients": 2, "write_percent": 50, "document_percent": 0,
        "update_percent": 0, "retries": 0, "timeout_seconds": 5,
    }  # fmt: skip
    return LoadGenerator(**{**given, **other})

"""A load client with little overhead: raw HTTP/1.1 over persistent TLS connections.

Reads an order as JSON from standard input and prints the outcome as JSON. Fields of an order:

    targets       each with `address`, `port` and `host`
    requests      sent in turn, each with `method`, `path`, `headers` and `body`
    ca            the file of the certificate authority
    connections   their number, over all targets
    seconds, count  when to stop
    timeout       seconds to wait for a response
    rate          requests per second, sent at that rate regardless of responses; without it, each connection sends its
                  next request after the last response
"""

import asyncio
import json
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any


class NoAnswerError(Exception):
    """The server closed the connection, or its response is not HTTP/1.1."""


def encode(target: dict[str, Any], request: dict[str, Any]) -> bytes:
    """Return a request as bytes, for a persistent connection."""
    body = str(request.get("body", "")).encode()
    lines = [f"{request['method']} {request['path']} HTTP/1.1", f"Host: {target['host']}"]
    lines += [f"{name}: {value}" for name, value in request.get("headers", {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Connection:
    """One connection to a target, opened on demand and reopened after an error."""

    target: dict[str, Any]
    trust: ssl.SSLContext
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> int:
        """Send a request, read the whole response, and return its status code.

        Raises:
            OSError, NoAnswerError, asyncio.IncompleteReadError: there was no response.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self.target["address"],
                self.target["port"],
                ssl=self.trust,
                # The certificate of the services names loopback addresses, that of an edge proxy the host.
                server_hostname=self.target["host"].split(":")[0],
            )
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = head.split(" ", 2)[1] if head.startswith("http/1.1 ") else ""
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        if not status.isdigit():
            raise NoAnswerError(head[:40])
        await self._skip_body(reader, headers)
        if headers.get("connection") == "close":
            self.close()
        return int(status)

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    @staticmethod
    async def _skip_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> None:
        if headers.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")
        else:
            await reader.readexactly(int(headers.get("content-length", 0)))


@dataclass
class Outcome:
    """The outcome of all requests."""

    statuses: Counter[str] = field(default_factory=Counter)
    last_failure: float | None = None
    """When the last failed request ended, in seconds since the start."""

    def add(self, ended: float, status: str) -> None:
        """Count a request that ended with a response or a timeout."""
        self.statuses[status] += 1
        if not status.startswith("2"):
            self.last_failure = max(ended, self.last_failure or 0.0)


class Load:
    """Carries out one order."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._trust = ssl.create_default_context(cafile=order["ca"])
        self._outcome = Outcome()
        self._left = order.get("count")
        self._sent = 0
        self._began = 0.0

    async def run(self) -> dict[str, Any]:
        """Send everything; returns the outcome as JSON."""
        targets, count = self._order["targets"], self._order["connections"]
        before = time.process_time()
        self._began = time.monotonic()
        await asyncio.gather(*(self._connection(targets[number % len(targets)]) for number in range(count)))
        seconds = time.monotonic() - self._began
        return {
            "seconds": seconds,
            "cpu_seconds": time.process_time() - before,
            "statuses": dict(self._outcome.statuses),
            "last_failure": self._outcome.last_failure,
        }

    async def _connection(self, target: dict[str, Any]) -> None:
        connection = Connection(target, self._trust)
        encoded = cycle([encode(target, request) for request in self._order["requests"]])
        while (due := self._next_due()) is not None:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            try:
                status = str(await asyncio.wait_for(connection.send(next(encoded)), self._order["timeout"]))
            except TimeoutError:
                status = "timeout"
                connection.close()
            except (OSError, NoAnswerError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                status = "refused"
                connection.close()
                # Reconnecting to a closed port without a pause would add load of its own.
                await asyncio.sleep(0.02)
            self._outcome.add(time.monotonic() - self._began, status)
        connection.close()

    def _next_due(self) -> float | None:
        """Return the time of the next request; None when there is none left."""
        now = time.monotonic()
        seconds, rate = self._order.get("seconds"), self._order.get("rate")
        due = self._began + self._sent / rate if rate else now
        if seconds is not None and max(now, due) >= self._began + seconds:
            return None
        if self._left is not None and self._sent >= self._left:
            return None
        self._sent += 1
        return due


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Load(json.load(sys.stdin)).run())))

"""An embedded AWS with an API in each region, and a client of its edge listeners."""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPResponse

from healthcare_dr.emulator import Emulator

REGIONS = ("us-east-1", "us-west-2")
ECHO = """
import json

def handler(event, context):
    seen = {name: event.get(name) for name in ("rawPath", "rawQueryString", "headers", "body")}
    seen["domainName"] = event["requestContext"]["domainName"]
    return {"statusCode": 200, "body": json.dumps(seen), "headers": {"Content-Type": "application/json"}}
"""


@dataclass(frozen=True)
class EdgeApis:
    """An embedded AWS with an API in each region."""

    emulator: Emulator
    apis: dict[str, str]

    def name(self, region: str) -> str:
        return f"{self.apis[region]}.execute-api.{region}.amazonaws.com"

    def connect(self, region: str, name: str, *, timeout: float = 15) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.emulator.certificate))
        plain = socket.create_connection(self.emulator.edge_addresses()[region], timeout=timeout)
        try:
            return context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def get(self, region: str, path: str = "/echo", *, name: str | None = None) -> tuple[int, bytes]:
        name = name or self.name(region)
        with self.connect(region, name) as connection:
            return ask(connection, name, path)

    def serves(self, region: str) -> bool:
        try:
            return self.get(region)[0] == 200
        except OSError:
            return False

    def serves_soon(self, region: str) -> bool:
        """Return whether the listener responds within a second, unlike in a blackhole."""
        try:
            with self.connect(region, self.name(region), timeout=1) as connection:
                return ask(connection, self.name(region))[0] == 200
        except OSError:
            return False


def ask(connection: ssl.SSLSocket, name: str, path: str = "/echo", headers: str = "") -> tuple[int, bytes]:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n{headers}\r\n".encode())
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 15
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

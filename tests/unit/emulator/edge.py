"""A client of the edge listeners of an embedded AWS with an API in each region."""

import socket
import ssl
from dataclasses import dataclass
from http.client import HTTPResponse

from healthcare_dr.emulator.emulator import Emulator


@dataclass(frozen=True)
class EdgeApis:
    """An embedded AWS with an API in each region."""

    emulator: Emulator
    apis: dict[str, str]

    def name(self, region: str) -> str:
        return f"{self.apis[region]}.execute-api.{region}.amazonaws.com"

    def connect(self, region: str, name: str | None = None, *, timeout: float = 15) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.emulator.certificate))
        plain = socket.create_connection(self.emulator.edge_addresses()[region], timeout=timeout)
        try:
            return context.wrap_socket(plain, server_hostname=name or self.name(region))
        except BaseException:
            plain.close()
            raise

    def get(self, region: str, path: str = "/echo", *, name: str | None = None) -> tuple[int, bytes]:
        name = name or self.name(region)
        with self.connect(region, name) as connection:
            return get(connection, name, path)

    def serves(self, region: str, *, name: str | None = None, timeout: float = 15) -> bool:
        """Return whether the listener responds with 200 within `timeout` seconds."""
        name = name or self.name(region)
        try:
            with self.connect(region, name, timeout=timeout) as connection:
                return get(connection, name)[0] == 200
        except OSError:
            return False


def get(connection: ssl.SSLSocket, name: str, path: str = "/echo", headers: str = "") -> tuple[int, bytes]:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n{headers}\r\n".encode())
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()

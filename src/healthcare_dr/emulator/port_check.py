"""Check that every port of an embedded AWS is free before its process starts."""

import errno
import socket
from collections.abc import Collection

from healthcare_dr.emulator.configuration import HOST, Ports
from healthcare_dr.emulator.process import Kind
from healthcare_dr.errors import EmulatorError


def refuse_taken(ports: Ports, *, kinds: Collection[Kind]) -> None:
    """Check the ports on which processes of these kinds will listen.

    Raises:
        EmulatorError: one cannot be used.
    """
    wanted = [(HOST, ports.port, socket.SOCK_STREAM)] if "services" in kinds else []
    if "edge" in kinds:
        wanted += [(HOST, ports.issuer_port, socket.SOCK_STREAM)]
        wanted += [(address, ports.edge_port, socket.SOCK_STREAM) for address in ports.edge_addresses.values()]
        wanted += [(HOST, ports.dns_port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    for address, port, kind in wanted:
        with socket.socket(type=kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise EmulatorError(_complaint(address, port, error)) from None


def _complaint(address: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"a front door needs the loopback address {address}, which this machine does not have: "
            f"add it with `sudo ifconfig lo0 alias {address}` (macOS) or `sudo ip addr add {address}/8 dev lo` (Linux)"
        )
    return (
        f"port {port} on {address} cannot be used ({error.strerror}): end what listens there, "
        f"or choose another with HDR_EMULATOR_PORT"
    )

"""Data planes of Route 53 for tests."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.ports import free_port

from healthcare_dr.emulator.route53.data_plane import DataPlane, Finding
from healthcare_dr.emulator.route53.model import Snapshot
from support.dns_server import event_loop

EDGE_ADDRESSES = {"us-east-1": "127.0.0.2", "us-west-2": "127.0.0.3"}


def data_plane(
    port: int, read: Callable[[], Snapshot], publish: Callable[[Sequence[Finding]], None] | None = None
) -> DataPlane:
    """Return a data plane on loopback with the time scale 2."""
    return DataPlane(
        read=read,
        edge_addresses=EDGE_ADDRESSES,
        edge_port=1,
        dns_address="127.0.0.1",
        dns_port=port,
        time_scale=lambda: 2.0,
        publish=publish,
    )


@contextmanager
def serving(snapshot: Snapshot) -> Iterator[tuple[int, DataPlane]]:
    """Serve `snapshot`, which has checks, on a loop of its own; yield the DNS port and the data plane."""
    port = free_port()
    plane = data_plane(port, lambda: snapshot)
    with event_loop() as loop:
        asyncio.run_coroutine_threadsafe(plane.start(), loop).result()
        try:
            deadline = time.monotonic() + 30
            while plane.checks().keys() != snapshot.checks.keys():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield port, plane
        finally:
            asyncio.run_coroutine_threadsafe(plane.stop(), loop).result()

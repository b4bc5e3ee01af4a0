"""A DNS server on loopback for tests, and the event loop in a thread that serves it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import dns.message
from bench.ports import free_port

from healthcare_dr.emulator.route53.dns_server import DnsServer

Respond = Callable[[dns.message.Message, bool], dns.message.Message]
"""Returns the response to a query; the second argument is whether it came over UDP."""


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def dns_server(respond: Respond) -> Iterator[tuple[str, int]]:
    """Serve over UDP and TCP on one port; yields address and port."""
    address = "127.0.0.1", free_port()
    server = DnsServer(
        reply=lambda packet, udp: respond(dns.message.from_wire(packet), udp).to_wire(want_shuffle=False),
        address=address[0],
        port=address[1],
    )
    with event_loop() as loop:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        try:
            yield address
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()

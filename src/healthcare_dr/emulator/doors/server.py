"""All front doors on a thread of their own: the embedded AWS is busy, and they ask it."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from threading import Event, Thread

import httpx
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from healthcare_dr.emulator.conditions import Conditions, DoorFault
from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.doors.apis import KnownApis
from healthcare_dr.emulator.doors.certificates import Certificates, load_authority
from healthcare_dr.emulator.doors.forwarding import Forwarding, Targets
from healthcare_dr.emulator.doors.relay import Relay, Serve
from healthcare_dr.emulator.layout import Layout

NOTICE_SECONDS = 0.05
HANDSHAKE_SECONDS = 10
TLS_SHUTDOWN_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 75
STOP_SECONDS = 10

logger = logging.getLogger("healthcare_dr.emulator")


class Doors:
    """The front doors of `ports`.

    Args:
        conditions: what is played at the moment.
        targets: which API a shared name stands for in each region.
        listed: the ids of the HTTP APIs of a region; called on other threads.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        ports: Ports,
        conditions: Callable[[], Conditions],
        targets: Targets,
        listed: Callable[[str], Iterable[str]],
    ) -> None:
        self._layout = layout
        self._ports = ports
        self._conditions = conditions
        self._targets = targets
        self._listed = listed
        self._thread = Thread(target=self._run, name="front-doors", daemon=True)
        self._ready = Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()

    def start(self) -> None:
        """Return when all of them listen.

        Raises:
            OSError: one cannot.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Close them, and every connection; does nothing when they do not run."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            if self._ready.is_set():
                logger.exception("The front doors failed")
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            verify = ssl.create_default_context(cafile=str(self._layout.authority_certificate))
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
            client = httpx.AsyncClient(verify=verify, limits=limits, trust_env=False)
            await stack.enter_async_context(client)
            authority = load_authority(self._layout)
            relays: dict[str, Relay] = {}
            for region, address in self._ports.doors.items():
                certificates = Certificates(authority=authority, region=region, shared=lambda: self._targets().keys())
                forwarding = Forwarding(
                    region=region,
                    endpoint=self._ports.endpoint,
                    client=client,
                    apis=KnownApis(partial(self._listed, region)),
                    targets=self._targets,
                    fault=partial(self._fault, region),
                )
                relay = Relay((address, self._ports.door_port), serve=_server(forwarding, certificates.context()))
                relay.listen()
                stack.push_async_callback(relay.stop)
                relays[region] = relay
            self._ready.set()
            await self._play(relays)

    def _fault(self, region: str) -> DoorFault:
        return self._conditions().door(region)

    async def _play(self, relays: Mapping[str, Relay]) -> None:
        while not self._ended.is_set():
            conditions = self._conditions()
            for region, relay in relays.items():
                try:
                    await relay.play(conditions.door(region).mode)
                except OSError as error:
                    logger.warning("The front door of %s cannot open: %s", region, error.strerror)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), NOTICE_SECONDS)


def _server(application: Forwarding, context: ssl.SSLContext) -> Serve:
    """Serves one connection after another with uvicorn's HTTP, which needs no socket of its own to listen on."""
    config = uvicorn.Config(
        application,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    config.load()
    state = ServerState()

    async def serve(connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        lost = asyncio.Event()

        class Protocol(H11Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                lost.set()

        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: Protocol(config=config, server_state=state, app_state={}),
                connection,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
            )
        except OSError:
            return  # no TLS, or no name of ours
        try:
            await lost.wait()
        finally:
            transport.abort()

    return serve

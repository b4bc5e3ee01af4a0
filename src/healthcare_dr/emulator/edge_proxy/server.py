"""The edge process: edge listeners, Route 53's health checkers and name server, and the token issuer.

All of them run in one event loop, in another process than the services: a busy service delays neither a health checker
nor the name server, and a fault that is applied here does not depend on the services.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from functools import cache, partial
from typing import Any

from starlette.applications import Starlette
from uvicorn.server import ServerState

from healthcare_dr.emulator import fault_state
from healthcare_dr.emulator.admin_api import health_checks_route
from healthcare_dr.emulator.configuration import HOST, Layout, Ports
from healthcare_dr.emulator.edge_proxy.forwarding import ApiDirectory, Forwarding, Services, services_session
from healthcare_dr.emulator.edge_proxy.listener import EdgeListener
from healthcare_dr.emulator.edge_proxy.receivers import Receivers
from healthcare_dr.emulator.edge_proxy.tls import Certificates, load_authority
from healthcare_dr.emulator.files import CachedFile
from healthcare_dr.emulator.http_server import http_config, protocol_factory
from healthcare_dr.emulator.process import quiet_loop_errors
from healthcare_dr.emulator.route53.data_plane import DataPlane, ZoneReader, publisher
from healthcare_dr.emulator.token_issuer import load_key, routes

# The longest delay until a fault of a drill is applied.
POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 5
# The region of Route 53 and its metrics.
GLOBAL = "us-east-1"

logger = logging.getLogger("healthcare_dr.emulator")


async def serve(layout: Layout, ports: Ports, ended: asyncio.Event) -> None:
    """Serve until `ended` is set.

    Raises:
        OSError, EmulatorError: an address or port cannot be used.
    """
    asyncio.get_running_loop().set_exception_handler(quiet_loop_errors)
    state = CachedFile(layout.fault_state, fault_state.read, fault_state.FaultState())
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(services_session())
        data_plane = DataPlane(
            read=ZoneReader(_client("route53", GLOBAL)),
            edge_addresses=ports.edge_addresses,
            edge_port=ports.edge_port,
            dns_address=HOST,
            dns_port=ports.dns_port,
            time_scale=lambda: state.current().time_scale,
            publish=publisher(_client("cloudwatch", GLOBAL)),
        )
        listeners = _listeners(layout, ports, data_plane, state, Services(session, host=f"{HOST}:{ports.port}"))
        for listener in listeners.values():
            listener.listen()
            stack.push_async_callback(listener.stop)
        await data_plane.start()
        stack.push_async_callback(data_plane.stop)
        # Last: its response means that everything listens.
        stack.push_async_callback(await _serve_issuer(layout, ports, data_plane))
        await _apply_faults(listeners, state, ended)


def _listeners(
    layout: Layout, ports: Ports, data_plane: DataPlane, state: CachedFile[fault_state.FaultState], services: Services
) -> dict[str, EdgeListener]:
    authority = load_authority(layout)
    listeners = {}
    for region, address in ports.edge_addresses.items():
        certificates = Certificates(authority=authority, region=region, shared=lambda: data_plane.zone_targets().keys())
        forwarding = Forwarding(
            region=region,
            services=services,
            apis=ApiDirectory(partial(_apis_of, region)),
            targets=data_plane.zone_targets,
            fault=partial(_fault_of, state, region),
        )
        listeners[region] = EdgeListener(
            (address, ports.edge_port), forwarding=forwarding, context=certificates.context()
        )
    return listeners


def _fault_of(state: CachedFile[fault_state.FaultState], region: str, host: str) -> fault_state.EdgeFault:
    return state.current().edge_fault(region, host)


async def _apply_faults(
    listeners: Mapping[str, EdgeListener], state: CachedFile[fault_state.FaultState], ended: asyncio.Event
) -> None:
    while not ended.is_set():
        present = state.current()
        for region, listener in listeners.items():
            try:
                modes = {host: fault.mode for host, fault in present.host_faults(region).items()}
                await listener.set_mode(present.edge_fault(region).mode, host_modes=modes)
            except OSError as error:
                logger.warning("The edge listener of %s cannot listen: %s", region, error.strerror)
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), POLL_SECONDS)


async def _serve_issuer(layout: Layout, ports: Ports, data_plane: DataPlane) -> Callable[[], Awaitable[None]]:
    """Serve the issuer's documents, the status of health checks and the receivers of notifications.

    Return a coroutine function that ends it.
    """
    application = Starlette(
        routes=[
            *routes(address=ports.issuer, key=load_key(layout.token_key)),
            health_checks_route(data_plane.checks, secret=layout.read_root_secret()),
            *Receivers(confirm=_confirm_subscription, secret=layout.read_root_secret()).routes(),
        ]
    )
    config = http_config(application, lifespan="off")
    state = ServerState()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(layout.server_certificate, layout.server_key)
    server = await asyncio.get_running_loop().create_server(
        protocol_factory(config, state), HOST, ports.issuer_port, ssl=context
    )

    async def end() -> None:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()

    return end


@cache
def _client(service: str, region: str) -> Any:
    """Return a client with the credentials of root in the environment, whose calls can be denied like any other's."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 1})
    return boto3.session.Session().client(service, region_name=region, config=config)


def _confirm_subscription(topic: str, token: str) -> None:
    _client("sns", topic.split(":")[3]).confirm_subscription(TopicArn=topic, Token=token)


def _apis_of(region: str) -> Iterable[str]:
    pages = _client("apigatewayv2", region).get_paginator("get_apis").paginate()
    return [str(api["ApiId"]) for page in pages for api in page["Items"]]

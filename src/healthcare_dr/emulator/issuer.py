"""Serves what a verifier needs of the token issuer: its discovery document and its public keys."""

import asyncio
from threading import Thread

import uvicorn
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.tokens import discovery, public_keys


def application(*, address: str, key: RSAKey) -> Starlette:
    """The issuer at `address`."""

    async def configuration(_: Request) -> JSONResponse:
        return JSONResponse(discovery(address))

    async def keys(_: Request) -> JSONResponse:
        return JSONResponse(public_keys(key))

    return Starlette(routes=[Route("/.well-known/openid-configuration", configuration), Route("/jwks.json", keys)])


class IssuerServer:
    """The issuer on a thread of its own: the embedded AWS waits for its answers."""

    def __init__(self, *, address: str, port: int, key: RSAKey, layout: Layout) -> None:
        self._server = uvicorn.Server(
            uvicorn.Config(
                application(address=address, key=key),
                host="127.0.0.1",
                port=port,
                ssl_certfile=layout.server_certificate,
                ssl_keyfile=layout.server_key,
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = Thread(target=self._run, name="token-issuer", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve())

    def start(self) -> None:
        """Start to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and wait until it has."""
        self._server.should_exit = True
        self._thread.join(timeout=5)

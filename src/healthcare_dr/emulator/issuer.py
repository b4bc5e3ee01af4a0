"""The token issuer's HTTP interface: its discovery document and its public keys."""

from joserfc.jwk import RSAKey
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from healthcare_dr.emulator.tokens import discovery, public_keys


def routes(*, address: str, key: RSAKey) -> list[Route]:
    """Return the routes of the issuer at `address`."""

    async def configuration(_: Request) -> JSONResponse:
        return JSONResponse(discovery(address))

    async def keys(_: Request) -> JSONResponse:
        return JSONResponse(public_keys(key))

    return [Route("/.well-known/openid-configuration", configuration), Route("/jwks.json", keys)]

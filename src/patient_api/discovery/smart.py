"""Build the SMART configuration: the issuer's endpoints, and the scopes of this server.

The document (https://hl7.org/fhir/smart-app-launch/conformance.html) contains what the configured issuer publishes by
OpenID Connect Discovery 1.0. What the issuer does not publish is omitted.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from patient_api import https
from patient_api.contract.headers import RETRY_AFTER
from patient_api.contract.routes import ROUTES
from patient_api.errors import IssuerUnavailable, NotFound
from patient_api.ttl_cache import TTLCache

WELL_KNOWN: Final = "/.well-known/openid-configuration"
CONNECT_SECONDS: Final = 2.0
RESPONSE_SECONDS: Final = 2.0
LARGEST_DOCUMENT: Final = 64 * 1024
# The route is public. Each container sends the issuer at most one request in this time, also while it is down.
KEPT_SECONDS: Final = 60.0
RETRY_SECONDS: Final = "60"

_ADDRESSES: Final = (
    "jwks_uri",
    "authorization_endpoint",
    "token_endpoint",
    "introspection_endpoint",
    "revocation_endpoint",
    "registration_endpoint",
)
_LISTS: Final = ("response_types_supported", "token_endpoint_auth_methods_supported")
# The defaults of OpenID Connect Discovery, section 3, for an issuer with the endpoints that they are about.
_GRANT_TYPES: Final = ("authorization_code", "implicit")
_AUTHENTICATION: Final = ("client_secret_basic",)
_CLIENTS: Final[Mapping[str, str]] = {
    "none": "client-public",
    "client_secret_basic": "client-confidential-symmetric",
    "client_secret_post": "client-confidential-symmetric",
    "private_key_jwt": "client-confidential-asymmetric",
}

Document = Mapping[str, Any]


class SmartConfiguration:
    """The discovery document of the server. `issuer` is empty where callers sign with IAM credentials.

    `published` returns the configuration of an issuer, None where it cannot be read; `monotonic` is a clock in seconds.
    """

    def __init__(
        self,
        *,
        issuer: str,
        published: Callable[[str], Document | None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._published = TTLCache(evaluate=lambda: published(issuer), seconds=KEPT_SECONDS, monotonic=monotonic)

    def document(self) -> Document:
        """Return the document. Raises NotFound without an issuer, IssuerUnavailable while the issuer is unreachable."""
        if not self._issuer:
            raise NotFound("No issuer of tokens is configured: requests are signed with IAM credentials.")
        published = self._published.get()
        if published is None:
            raise IssuerUnavailable("The issuer of tokens does not respond.", headers={RETRY_AFTER: RETRY_SECONDS})
        return described(self._issuer, published)


def described(issuer: str, published: Document) -> Document:
    """Return the discovery document for an issuer that publishes this about itself."""
    addresses = {name: published[name] for name in _ADDRESSES if _is_address(published.get(name))}
    lists = {name: found for name in _LISTS if (found := _strings(published.get(name)))}
    grants = _strings(published.get("grant_types_supported"))
    if grants is None:
        grants = _GRANT_TYPES if "authorization_endpoint" in addresses else ()
    clients: Sequence[str] = ()
    if "token_endpoint" in addresses:
        methods = lists.get("token_endpoint_auth_methods_supported", _AUTHENTICATION)
        clients = list(dict.fromkeys(_CLIENTS[method] for method in methods if method in _CLIENTS))
    return {
        "issuer": issuer,
        **addresses,
        **lists,
        "grant_types_supported": grants,
        "code_challenge_methods_supported": _strings(published.get("code_challenge_methods_supported")) or (),
        "scopes_supported": _scopes(),
        "capabilities": [*clients, "permission-user", "permission-v1", "permission-v2"],
    }


def published_by(issuer: str) -> Document | None:
    """Return the OpenID Connect configuration of an issuer; None where it cannot be read, or is another issuer's."""
    try:
        address = urlsplit(issuer.rstrip("/") + WELL_KNOWN)
        status, content = https.get(
            str(address.hostname),
            address.path,
            port=address.port,
            connect_seconds=CONNECT_SECONDS,
            response_seconds=RESPONSE_SECONDS,
            limit=LARGEST_DOCUMENT + 1,
        )
        document = json.loads(content) if status == HTTPStatus.OK and len(content) <= LARGEST_DOCUMENT else None
    except (OSError, HTTPException, ValueError, RecursionError):
        return None
    # OpenID Connect Discovery, section 4.3.
    return document if isinstance(document, dict) and document.get("issuer") == issuer else None


def _scopes() -> Sequence[str]:
    """Return the widest scope for each type, which any narrower one is a part of."""
    rights: dict[str, str] = {}
    for route in ROUTES:
        if route.type is not None and route.right is not None:
            rights[route.type] = rights.get(route.type, "") + route.right
    return [
        f"{context}/{type}.{''.join(letter for letter in 'cruds' if letter in rights[type])}"
        for context in ("system", "user")
        for type in rights
    ]


def _is_address(value: object) -> bool:
    return isinstance(value, str) and value.startswith("https://")


def _strings(value: object) -> Sequence[str] | None:
    if not isinstance(value, list):
        return None
    return [each for each in value if isinstance(each, str)]

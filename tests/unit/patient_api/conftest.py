import ssl
from collections.abc import Iterator

import pytest
import trustme

from patient_api import https
from unit.patient_api.fakes.api import Platform
from unit.patient_api.fakes.search import SearchRegion
from unit.patient_api.fakes.tls import HOST, Serve, Server, Serving


@pytest.fixture
def platform() -> Iterator[Platform]:
    built = Platform()
    yield built
    built.close()


@pytest.fixture
def other() -> Iterator[Platform]:
    """The API of another region or container."""
    built = Platform()
    yield built
    built.close()


@pytest.fixture
def region() -> Iterator[SearchRegion]:
    built = SearchRegion()
    yield built
    built.close()


@pytest.fixture
def serving() -> Iterator[Serving]:
    servers: list[Server] = []

    def make(serve: Serve) -> Server:
        servers.append(Server(serve))
        return servers[-1]

    yield make
    for server in servers:
        server.listener.close()


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the TLS context of a server that the functions trust."""
    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    monkeypatch.setattr(https, "tls_context", lambda: client)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context

"""The configuration of an embedded AWS: its account, ports and environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from healthcare_dr.emulator.credentials import root_secret
from healthcare_dr.emulator.layout import Layout

HOST = "127.0.0.1"
# Where the edge process reaches the services without TLS, in the services' temporary folder. The path is relative to
# the working directory of either process: an absolute one could exceed the 107 bytes of a UNIX socket's address.
SERVICES_SOCKET = "../tmp/services.sock"
# Of the caller's environment nothing else reaches the process or the Lambdas it starts: no profile, no
# credentials, no proxy, no setting of ministack's.
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True)
class Ports:
    """Which account the process plays and where it listens: on `port` and the three after it."""

    account: str
    port: int
    regions: tuple[str, str]

    @property
    def issuer_port(self) -> int:
        """Return the port of the token issuer."""
        return self.port + 1

    @property
    def edge_port(self) -> int:
        """Return the port of the listener of each region, on the region's own loopback address."""
        return self.port + 2

    @property
    def dns_port(self) -> int:
        """Return the port of the name server, for UDP and TCP."""
        return self.port + 3

    @property
    def edge_addresses(self) -> dict[str, str]:
        """The loopback address of each region's front door."""
        return {region: f"127.0.0.{number}" for number, region in enumerate(self.regions, start=2)}

    @property
    def issuer(self) -> str:
        """The issuer's address: the `iss` of every token."""
        return f"https://{HOST}:{self.issuer_port}"

    @property
    def endpoint(self) -> str:
        """Every AWS service's address. It is an IP, so that clients of S3 put the bucket into the path."""
        return f"https://{HOST}:{self.port}"


def process_environment(kind: str, layout: Layout, ports: Ports, inherited: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the process, which Lambdas inherit below their own variables."""
    certificate = str(layout.authority_certificate)
    return {
        **{name: inherited[name] for name in INHERITED if name in inherited},
        "HOME": str(layout.temporary(kind)),
        "TMPDIR": str(layout.temporary(kind)),
        "PYTHONUNBUFFERED": "1",
        "AWS_ACCESS_KEY_ID": ports.account,
        "AWS_SECRET_ACCESS_KEY": root_secret(layout),
        "AWS_ENDPOINT_URL": ports.endpoint,
        "AWS_CA_BUNDLE": certificate,
        "SSL_CERT_FILE": certificate,
        "REQUESTS_CA_BUNDLE": certificate,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(ports.port),
        "MINISTACK_ACCOUNT_ID": ports.account,
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(layout.server_certificate),
        "MINISTACK_SSL_KEY": str(layout.server_key),
        "AUTH": "true",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(layout.state),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(layout.objects),
        # Nothing here is a container, and at its start ministack would remove those of others.
        "DOCKER_HOST": f"unix://{layout.home / 'no-docker.sock'}",
        "LAMBDA_EXECUTOR": "local",
        # End the processes that a burst has left behind; one of each function stays, however idle.
        "LAMBDA_WARM_TTL_SECONDS": "60",
    }

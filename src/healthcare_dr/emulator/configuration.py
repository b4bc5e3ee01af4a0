"""The configuration of one embedded AWS: its files and secrets below the home folder, its ports, and the environment of
its processes.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from joserfc.jwk import RSAKey

from healthcare_dr.emulator.files import exclusive, write_file
from healthcare_dr.errors import EmulatorError

HOST = "127.0.0.1"
# The UNIX socket of the services process for the edge process, without TLS, in the services' temporary folder. The path
# is relative to the working directory of both processes: an absolute one could exceed the limit of 107 bytes.
SERVICES_SOCKET = "../tmp/services.sock"
# The variables of the caller that the processes and their Lambda functions inherit. All others are dropped: profiles,
# credentials, proxies, and settings of ministack.
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# The names of servers on loopback. API Gateway's host names are one label below execute-api.
SERVER_NAMES = ("127.0.0.1", "localhost", "*.execute-api.localhost")
RSA_BITS = 2048


class Layout:
    """The files and folders of one embedded AWS, all below `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        # Held while a program starts or stops the processes.
        self.start_lock = self.home / "start.lock"
        # Exists from a start until the state has been saved.
        self.unsaved = self.home / "unsaved"
        # Exists after a process ended without saving its state.
        self.lost = self.home / "lost"
        # The state of the services, one JSON file per service, written at a clean end.
        self.state = self.home / "state"
        # The contents of S3, written as they arrive.
        self.objects = self.home / "s3"
        # The settings of replication, and the faults of a drill, which every start resets. Changes apply at once.
        self.replication = self.home / "replication.json"
        self.fault_state = self.home / "conditions.json"
        self.keys = self.home / "keys"
        # The authority that clients trust, and its key, which signs certificates.
        self.authority_certificate = self.keys / "authority.pem"
        self.authority_key = self.keys / "authority.key"
        # The certificate, with its chain, of every server on loopback, and its key.
        self.server_certificate = self.keys / "server.pem"
        self.server_key = self.keys / "server.key"
        # The secret access key of the account's root.
        self.root_secret = self.keys / "root-secret"
        # The key that signs tokens.
        self.token_key = self.keys / "token.key"

    def process_file(self, kind: str) -> Path:
        """Return the file that the process of that kind (`services` or `edge`) locks while it runs.

        It contains the id and ports of the process.
        """
        return self.home / f"{kind}.json"

    def log(self, kind: str) -> Path:
        """Return the log of the process of that kind since its last start."""
        return self.home / f"{kind}.log"

    def temporary(self, kind: str) -> Path:
        """Return the folder of the temporary files of the process of that kind, which is its working directory, too.

        The services empty theirs when they start and end.
        """
        return self.home / ("tmp" if kind == "services" else f"tmp-{kind}")

    def read_root_secret(self) -> str:
        """Return the content of `root_secret`."""
        return self.root_secret.read_text()

    def make(self) -> None:
        """Create the folders. Only their owner may read `home`.

        Raises:
            EmulatorError: nothing can be written there.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self.home.chmod(0o700)
            for folder in (self.state, self.objects, self.keys, *map(self.temporary, ("services", "edge"))):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise EmulatorError(
                f"the embedded AWS cannot keep its state in {self.home} ({error.strerror}): "
                f"choose another place with HDR_HOME"
            ) from None


def make_secrets(layout: Layout) -> None:
    """Create missing secrets. Safe when several processes call it at the same time."""
    layout.make()
    with exclusive(layout.keys / "lock", within=timedelta(seconds=30)):
        if not layout.server_certificate.exists():
            _make_certificates(layout)
        if not layout.root_secret.exists():
            write_file(layout.root_secret, secrets.token_urlsafe(30).encode())
        if not layout.token_key.exists():
            write_file(layout.token_key, RSAKey.generate_key(RSA_BITS).as_pem(private=True))


def _make_certificates(layout: Layout) -> None:
    # Slow to import, and only the first start needs it.
    import trustme

    authority = trustme.CA(organization_name="healthcare-dr embedded AWS")
    server = authority.issue_cert(*SERVER_NAMES)
    write_file(layout.authority_key, authority.private_key_pem.bytes())
    write_file(layout.authority_certificate, authority.cert_pem.bytes())
    write_file(layout.server_key, server.private_key_pem.bytes())
    # Last: its presence means that all four files exist.
    write_file(layout.server_certificate, b"".join(part.bytes() for part in server.cert_chain_pems))


@dataclass(frozen=True)
class Ports:
    """The account, and the ports: `port` and the three after it."""

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
        """Return the loopback address of each region's edge listener."""
        return {region: f"127.0.0.{number}" for number, region in enumerate(self.regions, start=2)}

    @property
    def issuer(self) -> str:
        """Return the URL of the token issuer: the `iss` of every token."""
        return f"https://{HOST}:{self.issuer_port}"

    @property
    def endpoint(self) -> str:
        """Return the URL of all AWS services. It contains an IP address, so that clients of S3 put the bucket into the
        path.
        """
        return f"https://{HOST}:{self.port}"


def process_environment(kind: str, layout: Layout, ports: Ports, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a process, which Lambda functions inherit below their own variables."""
    certificate = str(layout.authority_certificate)
    return {
        **{name: inherited[name] for name in INHERITED if name in inherited},
        "HOME": str(layout.temporary(kind)),
        "TMPDIR": str(layout.temporary(kind)),
        "PYTHONUNBUFFERED": "1",
        "AWS_ACCESS_KEY_ID": ports.account,
        "AWS_SECRET_ACCESS_KEY": layout.read_root_secret(),
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
        # No container is used; with a Docker host, ministack would remove other containers when it starts.
        "DOCKER_HOST": f"unix://{layout.home / 'no-docker.sock'}",
        "LAMBDA_EXECUTOR": "local",
        # End the additional processes of a burst; one of each function stays, even when it is idle.
        "LAMBDA_WARM_TTL_SECONDS": "60",
    }

"""Terraform, deployments and TLS servers for the tests of operations."""

import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from healthcare_dr.ops.deploy import Deployment
from healthcare_dr.ops.terraform.interrupts import Interrupts
from healthcare_dr.ops.terraform.runner import Terraform
from unit.http_server import Request, Respond, Response, http_server
from unit.ops.fakes import LocalTarget, RecordingProgress, Stack, synthesizing


@pytest.fixture
def progress() -> RecordingProgress:
    return RecordingProgress()


@pytest.fixture
def interrupts(progress: RecordingProgress) -> Interrupts:
    return Interrupts(progress=progress)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home" / "embedded" / "dev"


@pytest.fixture
def target(root: Path) -> LocalTarget:
    return LocalTarget(root=root)


@pytest.fixture
def terraform(target: LocalTarget, interrupts: Interrupts, tmp_path: Path) -> Terraform:
    """The real Terraform, without a provider."""
    found = shutil.which("terraform") or shutil.which("tofu")
    assert found is not None
    configuration = tmp_path / "terraform.tfrc"
    configuration.write_text("")
    environment = target.child_environment() | {"TF_CLI_CONFIG_FILE": str(configuration)}
    return Terraform(binary=Path(found), environment=environment, interrupts=interrupts, lock_timeout_seconds=1)


DOMAIN = "dr.clinic-one.org"

Deploying = Callable[[dict[str, Stack]], Deployment]


@pytest.fixture
def deploying(target: LocalTarget, terraform: Terraform, root: Path, progress: RecordingProgress) -> Deploying:
    """Creates a deployment of given stacks."""

    def make(stacks: dict[str, Stack]) -> Deployment:
        return Deployment(
            target=target,
            terraform=terraform,
            synthesize=synthesizing(stacks),
            domain=DOMAIN,
            root=root,
            parallel_init=True,
            raise_throughput=lambda _: None,
            progress=progress,
        )

    return make


@dataclass
class Served:
    """A TLS server on loopback, and the methods and paths of its requests."""

    url: str
    authority: Path
    requests: list[str]


Serving = Callable[[Respond], Served]


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """Starts TLS servers. Their authority is trusted by SSL_CERT_FILE only."""
    authority = trustme.CA()
    pem = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(pem))
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", "*.execute-api.us-east-1.amazonaws.com").configure_cert(context)
    with ExitStack() as servers:

        def serve(respond: Respond) -> Served:
            requests: list[str] = []

            def record(request: Request) -> Response | None:
                requests.append(f"{request.method} {request.path}")
                return respond(request)

            return Served(servers.enter_context(http_server(record, context)), pem, requests)

        yield serve

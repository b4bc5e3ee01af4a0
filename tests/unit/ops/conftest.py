"""Terraform, workspaces and a TLS server for the tests of `ops`."""

import http.server
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from healthcare_dr.ops.deploy import Deployment
from healthcare_dr.ops.terraform.interrupts import Interrupts
from healthcare_dr.ops.terraform.runner import Terraform
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
    """The real one; these tests need no provider."""
    found = shutil.which("terraform") or shutil.which("tofu")
    assert found is not None
    configuration = tmp_path / "terraform.tfrc"
    configuration.write_text("")
    environment = target.child_environment() | {"TF_CLI_CONFIG_FILE": str(configuration)}
    return Terraform(binary=Path(found), environment=environment, interrupts=interrupts, lock_timeout_seconds=1)


Deploying = Callable[[dict[str, Stack]], Deployment]


@pytest.fixture
def deploying(target: LocalTarget, terraform: Terraform, root: Path, progress: RecordingProgress) -> Deploying:
    """Makes a deployment of the given stacks."""

    def make(stacks: dict[str, Stack]) -> Deployment:
        return Deployment(
            target=target,
            terraform=terraform,
            synthesize=synthesizing(stacks),
            root=root,
            parallel_init=True,
            progress=progress,
        )

    return make


Answer = tuple[int, bytes]
Respond = Callable[[str, str, bytes, dict[str, str]], Answer]


@dataclass
class Served:
    """A TLS server on loopback."""

    url: str
    authority: Path
    asked: list[str] = field(default_factory=list)


Serving = Callable[[Respond], Served]


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """Starts TLS servers whose authority our programs trust, through SSL_CERT_FILE and nothing else."""
    authority = trustme.CA()
    pem = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(pem))
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(respond: Respond) -> Served:
        served = Served(url="", authority=pem)

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self) -> None:
                served.asked.append(f"{self.command} {self.path}")
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, content = respond(self.command, self.path, body, dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", "application/json")
                if status in (301, 302):
                    self.send_header("Location", content.decode())
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost", "*.execute-api.us-east-1.amazonaws.com").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        served.url = f"https://127.0.0.1:{server.server_address[1]}"
        return served

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()

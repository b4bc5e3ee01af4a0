"""Find Terraform or OpenTofu, or download it."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from healthcare_dr.errors import ToolError
from healthcare_dr.ops.terraform.binary import PINNED_VERSION, download, find_terraform, host_platform, inspect
from unit.http_server import Request, Response
from unit.ops.conftest import Served, Serving

ARCHIVE = f"terraform_{PINNED_VERSION}_{host_platform()}.zip"
SUMS = f"terraform_{PINNED_VERSION}_SHA256SUMS"


def program(file: Path, version: str, *, opentofu: bool = False) -> Path:
    """Write a program that prints its version as Terraform or OpenTofu does."""
    name = "OpenTofu" if opentofu else "Terraform"
    file.parent.mkdir(parents=True, exist_ok=True)
    answer = json.dumps({"terraform_version": version})
    return script(file, f"if [ \"$2\" = -json ]; then echo '{answer}'; else echo '{name} v{version}'; fi")


def script(file: Path, text: str) -> Path:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def sums(archive: bytes, name: str = ARCHIVE) -> bytes:
    other = f"{'0' * 64}  terraform_{PINNED_VERSION}_plan9_mips.zip\n"
    return f"{other}{hashlib.sha256(archive).hexdigest()}  {name}\n".encode()


def published(tls: Serving, files: Mapping[str, bytes | None]) -> Served:
    """Run a server of releases with these files. The connection of a file without content is closed."""

    def respond(request: Request) -> Response:
        name = request.path.removeprefix(f"/terraform/{PINNED_VERSION}/")
        content = files.get(name, b"")
        if content is None:
            raise ConnectionAbortedError
        return Response(200 if content else 404, content)

    return tls(respond)


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    """The archive of a release."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("LICENSE.txt", "terms")
        bundle.writestr("terraform", program(tmp_path / "made" / "terraform", PINNED_VERSION).read_bytes())
    return buffer.getvalue()


@pytest.fixture
def good(tls: Serving, archive: bytes) -> Served:
    """A server with a correct release."""
    return published(tls, {ARCHIVE: archive, SUMS: sums(archive)})


def fetch(url: str, tmp_path: Path, said: list[str] | None = None) -> Path:
    destination = tmp_path / "tools" / f"terraform-{PINNED_VERSION}"
    download(base_url=f"{url}/terraform", destination=destination, say=(said if said is not None else []).append)
    return destination


def assert_refused(url: str, tmp_path: Path, message: str) -> None:
    """The download fails with one line, and leaves nothing."""
    with pytest.raises(ToolError, match=message) as error:
        fetch(url, tmp_path)
    assert "\n" not in str(error.value)
    tools = tmp_path / "tools"
    assert not tools.exists() or not any(tools.iterdir())


def test_downloaded_release_is_verified_and_only_its_executable_is_kept(good: Served, tmp_path: Path) -> None:
    said: list[str] = []
    fetched = fetch(good.url, tmp_path, said)
    assert inspect(fetched).version == PINNED_VERSION
    assert list(fetched.parent.iterdir()) == [fetched]
    assert any("100 %" in line for line in said)
    assert said[-1].endswith("SHA-256 as published")


def test_redirect_over_tls_is_followed(tls: Serving, good: Served, tmp_path: Path) -> None:
    moved = tls(lambda request: Response(302, headers={"Location": f"{good.url}{request.path}"}))
    assert inspect(fetch(moved.url, tmp_path)).version == PINNED_VERSION


def test_redirect_to_plain_http_is_refused(tls: Serving, archive: bytes, tmp_path: Path) -> None:
    def respond(request: Request) -> Response:
        if request.path.endswith("SUMS"):
            return Response(200, sums(archive))
        return Response(302, headers={"Location": f"http://example.com/{ARCHIVE}"})

    assert_refused(tls(respond).url, tmp_path, r"leads to http://example\.com/.*https:// only")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({ARCHIVE: b"tampered"}, r"has SHA-256 [0-9a-f]{64}, but [0-9a-f]{64} is published"),
        ({ARCHIVE: None}, r"cannot be fetched from https://127.0.0.1.*HDR_TERRAFORM_BASE_URL"),
        ({ARCHIVE: b"no zip", SUMS: sums(b"no zip")}, "holds no terraform executable"),
        ({ARCHIVE: b""}, f"{ARCHIVE} answered 404: check HDR_TERRAFORM_BASE_URL"),
        ({SUMS: b""}, f"{SUMS} answered 404: check HDR_TERRAFORM_BASE_URL"),
    ],
    ids=["tampered", "connection closed", "no zip", "no archive", "no sums"],
)
def test_damaged_release_is_refused(
    tls: Serving, archive: bytes, tmp_path: Path, files: dict[str, bytes | None], message: str
) -> None:
    assert_refused(published(tls, {ARCHIVE: archive, SUMS: sums(archive), **files}).url, tmp_path, message)


def test_truncated_release_is_refused(tls: Serving, archive: bytes, tmp_path: Path) -> None:
    served = published(tls, {ARCHIVE: archive[:100], SUMS: sums(archive)})
    assert_refused(served.url, tmp_path, "is published")


def test_release_without_a_published_sum_is_not_downloaded(tls: Serving, archive: bytes, tmp_path: Path) -> None:
    served = published(tls, {ARCHIVE: archive, SUMS: sums(archive, "terraform_other.zip")})
    assert_refused(served.url, tmp_path, f"publishes no sum for {ARCHIVE}")
    assert f"GET /terraform/{PINNED_VERSION}/{ARCHIVE}" not in served.requests


def test_unknown_authority_is_refused(good: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert_refused(good.url, tmp_path, "CERTIFICATE_VERIFY_FAILED")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://[bad", r"HDR_TERRAFORM_BASE_URL=.* is no address"),
        ("https://", r"HDR_TERRAFORM_BASE_URL=.* is no address"),
        ("https://127.0.0.1:99999", r"HDR_TERRAFORM_BASE_URL=.* is no address"),
        ("https://127.0.0.1:0", r"HDR_TERRAFORM_BASE_URL=.* is no address"),
        ("https://exa\x01mple.com", "HDR_TERRAFORM_BASE_URL"),
        ("https://127.0.0.1:9", "check the network and HDR_TERRAFORM_BASE_URL"),
        (f"https://{'a' * 64}.invalid", "cannot be fetched"),
        ("http://example.com", "https:// only"),
        ("ftp://127.0.0.1", "https:// only"),
        ("file:///tmp", "https:// only"),
    ],
)
def test_invalid_or_unreachable_address_is_refused(tmp_path: Path, url: str, message: str) -> None:
    assert_refused(url, tmp_path, message)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "socks5://proxy.example.org"), ("https_proxy", "://"), ("SSL_CERT_FILE", "/nonexistent/ca.pem")],
)
def test_invalid_proxy_or_authority_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    message = rf"{name.upper()}.* cannot be used for HTTPS \(.+\): a proxy must be an"
    assert_refused("https://127.0.0.1:1", tmp_path, message)


def test_unwritable_folder_prints_one_line(tmp_path: Path) -> None:
    (tmp_path / "tools").write_text("")
    with pytest.raises(ToolError, match=r"cannot be put into .*tools: File exists"):
        fetch("https://127.0.0.1:9", tmp_path)


def test_shim_of_a_version_manager_gets_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = program(tmp_path / "real" / "hidden", "1.12.0")
    shim = script(tmp_path / "terraform", '[ -z "$AWS_PROFILE$TF_LOG" ] || exit 9\nexec "$MANAGED" "$@"')
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("TF_LOG", "TRACE")
    monkeypatch.setenv("MANAGED", str(real))
    assert inspect(shim).version == "1.12.0"


def test_failing_program_is_quoted_by_its_last_line(tmp_path: Path) -> None:
    file = script(tmp_path / "terraform", "echo one >&2\necho 'no version is set' >&2\nexit 126")
    with pytest.raises(ToolError, match=r"as Terraform does: it exited with 126: no version is set$"):
        inspect(file)


def find(tmp_path: Path, url: str = "https://127.0.0.1:9", configured: Path | None = None) -> Path:
    found = find_terraform(configured=configured, tools=tmp_path / "tools", base_url=url, say=lambda _: None)
    return found.path


def test_binary_on_the_path_is_used_terraform_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(folder))
    tofu = program(folder / "tofu", "1.10.1", opentofu=True)
    assert find(tmp_path) == tofu
    terraform = program(folder / "terraform", "1.12.0")
    assert find(tmp_path) == terraform


def test_configured_binary_comes_first(tmp_path: Path) -> None:
    mine = program(tmp_path / "mine" / "terraform-special", "1.10.0")
    assert find(tmp_path, configured=mine) == mine
    with pytest.raises(ToolError, match=r"HDR_TERRAFORM=.*missing is not an executable"):
        find(tmp_path, configured=tmp_path / "missing")


def test_release_is_downloaded_once(good: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    first, requests = find(tmp_path, f"{good.url}/terraform"), len(good.requests)
    assert find(tmp_path, f"{good.url}/terraform") == first
    assert len(good.requests) == requests


def test_opentofu_is_recognized_by_its_output(tmp_path: Path) -> None:
    assert inspect(program(tmp_path / "terraform", "1.10.0", opentofu=True)).registry == "registry.opentofu.org"
    assert inspect(program(tmp_path / "other", "1.10.0")).registry == "registry.terraform.io"


@pytest.mark.parametrize("version", ["1.9.8", "0.15.5"])
def test_version_without_lock_files_in_s3_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(ToolError, match=f"is version {version}, but 1.10 or newer is needed"):
        inspect(program(tmp_path / "terraform", version))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("hello", "does not answer `version -json` as Terraform does"),
        *((output, "its output has no terraform_version") for output in ("[]", "5", "null", '{"version":"1.11.0"}')),
    ],
)
def test_other_program_is_refused(tmp_path: Path, output: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        inspect(script(tmp_path / "terraform", f"echo '{output}'"))

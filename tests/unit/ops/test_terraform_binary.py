"""Terraform is found, or fetched and checked."""

import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from healthcare_dr.errors import ToolError
from healthcare_dr.ops.terraform.binary import PINNED_VERSION, download, find_terraform, host_platform, inspect
from unit.ops.conftest import Answer, Served, Serving

ARCHIVE = f"terraform_{PINNED_VERSION}_{host_platform()}.zip"
SUMS = f"terraform_{PINNED_VERSION}_SHA256SUMS"


def program(file: Path, version: str, *, opentofu: bool = False) -> Path:
    """Something that answers as Terraform or OpenTofu does."""
    name = "OpenTofu" if opentofu else "Terraform"
    file.parent.mkdir(parents=True, exist_ok=True)
    answer = json.dumps({"terraform_version": version})
    file.write_text(f"#!/bin/sh\nif [ \"$2\" = -json ]; then echo '{answer}'; else echo '{name} v{version}'; fi\n")
    file.chmod(file.stat().st_mode | stat.S_IEXEC)
    return file


def release(tmp_path: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("LICENSE.txt", "terms")
        bundle.writestr("terraform", program(tmp_path / "made" / "terraform", PINNED_VERSION).read_bytes())
    return buffer.getvalue()


def serving(tls: Serving, files: Mapping[str, bytes]) -> Served:
    def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        content = files.get(path.removeprefix(f"/terraform/{PINNED_VERSION}/"))
        return (404, b"no") if content is None else (200, content)

    return tls(respond)


def sums(archive: bytes, name: str = ARCHIVE) -> bytes:
    other = f"{'0' * 64}  terraform_{PINNED_VERSION}_plan9_mips.zip\n"
    return f"{other}{hashlib.sha256(archive).hexdigest()}  {name}\n".encode()


def fetch(url: str, tmp_path: Path, said: list[str] | None = None) -> Path:
    destination = tmp_path / "tools" / f"terraform-{PINNED_VERSION}"
    download(base_url=f"{url}/terraform", destination=destination, say=(said if said is not None else []).append)
    return destination


def nothing_left(tmp_path: Path) -> bool:
    tools = tmp_path / "tools"
    return not tools.exists() or not any(tools.iterdir())


def test_the_release_is_fetched_checked_and_only_its_executable_kept(tls: Serving, tmp_path: Path) -> None:
    archive = release(tmp_path)
    served = serving(tls, {ARCHIVE: archive, SUMS: sums(archive)})
    said: list[str] = []
    fetched = fetch(served.url, tmp_path, said)
    assert inspect(fetched).version == PINNED_VERSION
    assert list(fetched.parent.iterdir()) == [fetched]
    assert any("100 %" in line for line in said)
    assert said[-1].endswith("SHA-256 as published")


def test_every_address_on_the_way_to_a_program_is_tls(tls: Serving, tmp_path: Path) -> None:
    archive = release(tmp_path)

    def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return (200, sums(archive)) if path.endswith("SUMS") else (302, f"http://example.com/{ARCHIVE}".encode())

    with pytest.raises(ToolError, match=r"leads to http://example\.com/.*https:// only"):
        fetch(tls(respond).url, tmp_path)
    assert nothing_left(tmp_path)


def test_a_redirect_over_tls_is_followed(tls: Serving, tmp_path: Path) -> None:
    archive = release(tmp_path)
    served = serving(tls, {ARCHIVE: archive, SUMS: sums(archive)})

    def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return 302, f"{served.url}{path}".encode()

    moved = tls(respond)
    assert inspect(fetch(moved.url, tmp_path)).version == PINNED_VERSION


@pytest.mark.parametrize("url", ["https://[bad", "https://", "https://127.0.0.1:99999", "https://127.0.0.1:0"])
def test_invalid_address_prints_one_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(ToolError, match=r"HDR_TERRAFORM_BASE_URL=.* is no address") as e:
        download(base_url=url, destination=tmp_path / "terraform", say=lambda _: None)
    assert "\n" not in str(e.value)


def test_address_with_invalid_characters_prints_one_line(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="HDR_TERRAFORM_BASE_URL"):
        fetch("https://exa\x01mple.com", tmp_path)


def test_unwritable_folder_prints_one_line(tls: Serving, tmp_path: Path) -> None:
    (tmp_path / "tools").write_text("")
    with pytest.raises(ToolError, match=r"cannot be put into .*tools: File exists"):
        fetch("https://127.0.0.1:9", tmp_path)


def test_a_version_managers_shim_gets_the_users_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = program(tmp_path / "real" / "hidden", "1.12.0")
    shim = tmp_path / "terraform"
    shim.write_text('#!/bin/sh\n[ -z "$AWS_PROFILE$TF_LOG" ] || exit 9\nexec "$MANAGED" "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("TF_LOG", "TRACE")
    monkeypatch.setenv("MANAGED", str(real))
    assert inspect(shim).version == "1.12.0"


def test_failing_program_is_quoted_by_its_last_line(tmp_path: Path) -> None:
    file = tmp_path / "terraform"
    file.write_text("#!/bin/sh\necho one >&2\necho 'no version is set' >&2\nexit 126\n")
    file.chmod(0o755)
    with pytest.raises(ToolError, match=r"as Terraform does: it ended with 126, saying no version is set$"):
        inspect(file)


def test_a_tampered_release_is_thrown_away(tls: Serving, tmp_path: Path) -> None:
    archive = release(tmp_path)
    served = serving(tls, {ARCHIVE: archive.replace(b"terms", b"trick"), SUMS: sums(archive)})
    with pytest.raises(ToolError, match=r"has SHA-256 [0-9a-f]{64}, but [0-9a-f]{64} is published"):
        fetch(served.url, tmp_path)
    assert nothing_left(tmp_path)


def test_a_truncated_release_is_thrown_away(tls: Serving, tmp_path: Path) -> None:
    archive = release(tmp_path)
    served = serving(tls, {ARCHIVE: archive[:100], SUMS: sums(archive)})
    with pytest.raises(ToolError, match="is published"):
        fetch(served.url, tmp_path)
    assert nothing_left(tmp_path)


def test_broken_connection_prints_one_line(tls: Serving, tmp_path: Path) -> None:
    archive = release(tmp_path)

    def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        if path.endswith("SUMS"):
            return 200, sums(archive)
        raise ConnectionAbortedError

    served = tls(respond)
    with pytest.raises(ToolError, match=r"cannot be fetched from https://127.0.0.1.*HDR_TERRAFORM_BASE_URL") as e:
        fetch(served.url, tmp_path)
    assert "\n" not in str(e.value)
    assert nothing_left(tmp_path)


def test_a_release_without_a_published_sum_is_refused(tls: Serving, tmp_path: Path) -> None:
    archive = release(tmp_path)
    served = serving(tls, {ARCHIVE: archive, SUMS: sums(archive, "terraform_other.zip")})
    with pytest.raises(ToolError, match=f"publishes no sum for {ARCHIVE}"):
        fetch(served.url, tmp_path)
    assert f"GET /terraform/{PINNED_VERSION}/{ARCHIVE}" not in served.asked
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("missing", [ARCHIVE, SUMS])
def test_missing_file_names_its_path(tls: Serving, tmp_path: Path, missing: str) -> None:
    archive = release(tmp_path)
    served = serving(
        tls, {name: content for name, content in {ARCHIVE: archive, SUMS: sums(archive)}.items() if name != missing}
    )
    with pytest.raises(ToolError, match=f"{missing} answered 404: check HDR_TERRAFORM_BASE_URL"):
        fetch(served.url, tmp_path)


def test_a_zip_without_the_executable_is_refused(tls: Serving, tmp_path: Path) -> None:
    served = serving(tls, {ARCHIVE: b"no zip", SUMS: sums(b"no zip")})
    with pytest.raises(ToolError, match="holds no terraform executable"):
        fetch(served.url, tmp_path)
    assert nothing_left(tmp_path)


def test_an_authority_we_do_not_trust_is_refused(tls: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = release(tmp_path)
    served = serving(tls, {ARCHIVE: archive, SUMS: sums(archive)})
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ToolError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(served.url, tmp_path)


def test_refused_connection_prints_one_line(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="check the network and HDR_TERRAFORM_BASE_URL"):
        fetch("https://127.0.0.1:9", tmp_path)


@pytest.mark.parametrize("url", ["http://example.com", "ftp://127.0.0.1", "file:///tmp"])
def test_a_program_is_fetched_over_tls_only(tmp_path: Path, url: str) -> None:
    with pytest.raises(ToolError, match="https:// only"):
        fetch(url, tmp_path)


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


def test_the_configured_one_comes_first(tmp_path: Path) -> None:
    mine = program(tmp_path / "mine" / "terraform-special", "1.10.0")
    assert find(tmp_path, configured=mine) == mine
    with pytest.raises(ToolError, match=r"HDR_TERRAFORM=.*missing is not an executable"):
        find(tmp_path, configured=tmp_path / "missing")


def test_with_none_on_the_path_the_release_is_fetched_once(
    tls: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = release(tmp_path)
    served = serving(tls, {ARCHIVE: archive, SUMS: sums(archive)})
    monkeypatch.setenv("PATH", str(tmp_path))
    first = find(tmp_path, f"{served.url}/terraform")
    asked = len(served.asked)
    assert find(tmp_path, f"{served.url}/terraform") == first
    assert len(served.asked) == asked


def test_opentofu_is_recognized_by_its_output(tmp_path: Path) -> None:
    assert inspect(program(tmp_path / "terraform", "1.10.0", opentofu=True)).registry == "registry.opentofu.org"
    assert inspect(program(tmp_path / "other", "1.10.0")).registry == "registry.terraform.io"


@pytest.mark.parametrize("version", ["1.9.8", "0.15.5"])
def test_a_version_without_lock_files_in_s3_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(ToolError, match=f"is version {version}, but 1.10 or newer is needed"):
        inspect(program(tmp_path / "terraform", version))


def test_other_program_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "terraform"
    file.write_text("#!/bin/sh\necho hello\n")
    file.chmod(0o755)
    with pytest.raises(ToolError, match="does not answer `version -json` as Terraform does"):
        inspect(file)


@pytest.mark.parametrize("answer", ["[]", "5", "null", '{"version":"1.11.0"}'])
def test_output_without_a_version_prints_one_line(tmp_path: Path, answer: str) -> None:
    file = program(tmp_path / "terraform", "1.11.0")
    file.write_text(f"#!/bin/sh\necho '{answer}'\n")
    with pytest.raises(ToolError, match="its answer has no terraform_version"):
        inspect(file)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "socks5://proxy.example.org"), ("https_proxy", "://"), ("SSL_CERT_FILE", "/nonexistent/ca.pem")],
)
def test_invalid_proxy_environment_prints_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ToolError, match=rf"{name.upper()}.* cannot be used for HTTPS \(.+\): a proxy must be an") as e:
        fetch("https://127.0.0.1:1", tmp_path)
    assert "\n" not in str(e.value)
    assert nothing_left(tmp_path)


def test_too_long_host_name_prints_one_line(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cannot be fetched"):
        fetch(f"https://{'a' * 64}.invalid", tmp_path)

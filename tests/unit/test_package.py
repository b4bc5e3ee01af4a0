"""The Lambda package: the same bytes everywhere, nothing missing, nothing foreign."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import boto3
import pytest

from healthcare_dr.errors import SynthesisError
from healthcare_dr.infra.package import LOCK, SOURCE, Package, build

CALL = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from patient_api.handlers.api import handler
import patient_api
def call(method, path):
    return handler({
        "version": "2.0", "rawPath": path, "headers": {},
        "requestContext": {"http": {"method": method, "path": path}, "requestId": "1", "stage": "$default"},
    }, None)["statusCode"]
statuses = [call("GET", "/nowhere"), call("POST", "/health"), call("GET", "/drain/elsewhere"), call("GET", "/health")]
json.dump({"statuses": statuses, "from": patient_api.__file__, "modules": sorted(sys.modules)}, sys.stderr)
"""


@pytest.fixture(scope="module")
def package() -> Package:
    return build()


def names(package: Package) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        return archive.namelist()


def wheel(folder: Path, *, version: str = "1.0", pure: bool = True, extra: dict[str, bytes] | None = None) -> Path:
    """An installed distribution `example`, and a lock for its version 1.0. Returns the lock."""
    info = f"example-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: example\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: {str(pure).lower()}\n".encode(),
        f"{info}/INSTALLER": b"pip\n",
        f"{info}/direct_url.json": b"{}",
        f"{info}/licenses/LICENSE": b"free",
        "example/__init__.py": b"",
        "example/tests/test_it.py": b"",
        "example/__pycache__/__init__.cpython-311.pyc": b"",
        **(extra or {}),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    record = [*files, "../../bin/example", f"{info}/RECORD"]
    (folder / info / "RECORD").write_text("".join(f"{name},,\n" for name in record))
    lock = folder / "lambda.txt"
    lock.write_text("# a lock\nexample==1.0 \\\n    --hash=sha256:00\n    # via -r lambda.in\n")
    return lock


def test_same_input_gives_the_same_bytes(package: Package, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere" / "patient_api"
    shutil.copytree(SOURCE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copied.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert build().content == package.content
    assert build(source=copied).content == package.content


def test_changed_source_changes_the_hash(package: Package, tmp_path: Path) -> None:
    copied = tmp_path / "patient_api"
    shutil.copytree(SOURCE, copied)
    (copied / "clock.py").write_text((copied / "clock.py").read_text() + "\n")
    assert build(source=copied).sha256_hex != package.sha256_hex


def test_the_hashes_are_those_of_the_file(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "made" / "function.zip"
    package.write(path)
    digest = hashlib.sha256(path.read_bytes()).digest()
    assert (package.sha256_hex, package.sha256_base64) == (digest.hex(), base64.b64encode(digest).decode())


@pytest.mark.trap(39)
def test_entries_carry_nothing_of_the_machine(package: Package) -> None:
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted({entry.filename for entry in entries})
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {(entry.create_system, entry.external_attr >> 16) for entry in entries} == {(3, 0o100644)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}


def test_contents_of_the_zip(package: Package) -> None:
    held = names(package)
    assert {"patient_api/handlers/api.py", "patient_api/fhir/profile/compiled/patient.json", "jsonpatch.py"} <= set(
        held
    )
    assert {name.split("/")[0].split("-")[0] for name in held} == {
        "jsonpatch",
        "jsonpatch.py",
        "jsonpatch_cli.py",
        "jsonpointer",
        "jsonpointer.py",
        "patient_api",
    }
    assert len([name for name in held if "LICENSE" in name]) == 2
    for name in held:
        assert not {"tests", "test", "__pycache__", "..", ""} & set(name.split("/")), name
        assert not name.endswith((".pyc", ".so", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json")), name


@pytest.mark.requirement("R2.1", "D2")
@pytest.mark.trap(39)
def test_the_package_runs_with_nothing_but_boto3_beside_it(package: Package, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        archive.extractall(tmp_path / "task")
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    site = Path(boto3.__file__).parents[1]
    for name in ("boto3", "botocore", "jmespath", "s3transfer", "urllib3", "dateutil", "six.py"):
        (runtime / name).symlink_to(site / name)
    environment = {
        "AWS_REGION": "us-east-1",
        "PEER_REGION": "us-west-2",
        "RECORDS_TABLE": "records",
        "AUDIT_TABLE": "audit",
        "DOCUMENTS_BUCKET": "documents",
        "KEY_ARN": "arn:aws:kms:us-east-1:123456789012:key/1",
        "PEER_DOCUMENTS_BUCKET": "peer-documents",
        "PEER_ROLE_ARN": "arn:aws:iam::123456789012:role/peer",
        "INDEX_KEY_ALIAS": "alias/index",
        "LOG_LEVEL": "INFO",
        "TENANT_CLAIM": "tenant",
        "OIDC_ISSUER": "",
        "CORS": "false",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        # Nobody listens on port 1, so that the probes fail at once.
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", CALL, json.dumps([str(tmp_path / "task"), str(runtime)])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stderr)
    assert report["statuses"] == [404, 405, 404, 503]
    assert report["from"].startswith(str(tmp_path))
    assert not {"pydantic", "aws_xray_sdk", "boto3", "healthcare_dr"} & set(report["modules"])
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["status"] for line in lines if line.get("message") == "call"] == [404, 405, 404, 503]
    (failures,) = [line["failures"] for line in lines if line.get("message") == "unhealthy"]
    assert set(failures) == {"records", "documents", "key"}


def test_locked_version_is_packaged(tmp_path: Path) -> None:
    package = build(lock=wheel(tmp_path), installed=tmp_path)
    assert [name for name in names(package) if not name.startswith("patient_api/")] == [
        "example-1.0.dist-info/METADATA",
        "example-1.0.dist-info/WHEEL",
        "example-1.0.dist-info/licenses/LICENSE",
        "example/__init__.py",
    ]


@pytest.mark.trap(39)
@pytest.mark.parametrize("name", ["example/fast.cpython-313-aarch64-linux-gnu.so", "example/fast.pyd"])
def test_a_native_file_is_refused(tmp_path: Path, name: str) -> None:
    lock = wheel(tmp_path, extra={name: b"\x7fELF"})
    with pytest.raises(SynthesisError, match=r"fast.* is a native file"):
        build(lock=lock, installed=tmp_path)


@pytest.mark.trap(39)
def test_a_native_file_among_the_sources_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "patient_api")
    (tmp_path / "patient_api" / "fast.so").write_bytes(b"")
    with pytest.raises(SynthesisError, match="native"):
        build(source=tmp_path / "patient_api")


@pytest.mark.trap(39)
def test_a_wheel_for_one_platform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="not a pure Python wheel"):
        build(lock=wheel(tmp_path, pure=False), installed=tmp_path)


def test_another_version_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"example 1\.1 is installed, but lambda\.txt locks 1\.0"):
        build(lock=wheel(tmp_path, version="1.1"), installed=tmp_path)


def test_a_missing_distribution_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "lambda.txt"
    lock.write_text("example==1.0\n")
    with pytest.raises(SynthesisError, match="example is not installed"):
        build(lock=lock, installed=tmp_path)


def test_a_damaged_installation_is_named(tmp_path: Path) -> None:
    lock = wheel(tmp_path)
    (tmp_path / "example" / "__init__.py").unlink()
    with pytest.raises(SynthesisError, match="example is missing: install"):
        build(lock=lock, installed=tmp_path)


def test_a_distribution_without_a_list_of_its_files_is_refused(tmp_path: Path) -> None:
    lock = wheel(tmp_path)
    (record,) = tmp_path.rglob("RECORD")
    record.unlink()
    with pytest.raises(SynthesisError, match="has no list of its files"):
        build(lock=lock, installed=tmp_path)


def test_a_missing_or_empty_lock_is_named(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="is missing"):
        build(lock=tmp_path / "lambda.txt")
    (tmp_path / "lambda.txt").write_text("# nothing\n")
    with pytest.raises(SynthesisError, match="locks no distribution"):
        build(lock=tmp_path / "lambda.txt")


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"no folder handlers"):
        build(source=tmp_path)


def test_errors_are_one_line_messages(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError) as refused:
        build(lock=wheel(tmp_path, version="2.0"), installed=tmp_path)
    assert "\n" not in str(refused.value)
    assert LOCK.is_file()

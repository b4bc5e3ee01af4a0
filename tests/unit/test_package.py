"""The Lambda package has the same bytes on every machine, and contains all that the functions import."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import boto3
import pytest

from healthcare_dr.errors import SynthesisError
from healthcare_dr.infra.package import SOURCE, Package, build

CALL = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from patient_api.handlers.api import handler
import patient_api
def call(method, path):
    return handler({
        "version": "2.0", "rawPath": path, "headers": {},
        "requestContext": {
            "http": {"method": method, "path": path}, "requestId": "1", "stage": "$default", "timeEpoch": 0,
        },
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
    """Install a distribution `example` and return a lock for its version 1.0."""
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
    assert build(source=copied).sha256_base64 != package.sha256_base64


def test_hash_is_that_of_the_file(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "made" / "function.zip"
    package.write(path)
    assert package.sha256_base64 == base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()


@pytest.mark.trap(39)
def test_entries_do_not_depend_on_the_machine(package: Package) -> None:
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted({entry.filename for entry in entries})
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {(entry.create_system, entry.external_attr >> 16) for entry in entries} == {(3, 0o100644)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}


def test_contents_of_the_zip(package: Package) -> None:
    found = names(package)
    needed = {"patient_api/handlers/api.py", "patient_api/fhir/profile/compiled/patient.json", "jsonpatch.py"}
    assert needed <= set(found)
    assert {name.split("/")[0].split("-")[0] for name in found} == {
        "jsonpatch",
        "jsonpatch.py",
        "jsonpatch_cli.py",
        "jsonpointer",
        "jsonpointer.py",
        "patient_api",
    }
    assert len([name for name in found if "LICENSE" in name]) == 2
    for name in found:
        assert not {"tests", "test", "__pycache__", "..", ""} & set(name.split("/")), name
        assert not name.endswith((".pyc", ".so", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json")), name


@pytest.mark.requirement("R2.1", "D2")
@pytest.mark.trap(39)
def test_package_runs_with_boto3_only(package: Package, tmp_path: Path) -> None:
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
        "CLOCK_BOUND_SECONDS": "5",
        "TENANT_CLAIM": "tenant",
        "OIDC_ISSUER": "",
        "CORS": "false",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        # No service listens on port 1, so the probes fail at once.
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


def without_list_of_files(folder: Path) -> Path:
    lock = wheel(folder)
    (record,) = folder.rglob("RECORD")
    record.unlink()
    return lock


def damaged(folder: Path) -> Path:
    lock = wheel(folder)
    (folder / "example" / "__init__.py").unlink()
    return lock


def lock_of(content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        lock = folder / "lambda.txt"
        lock.write_text(content)
        return lock

    return write


@pytest.mark.trap(39)
@pytest.mark.parametrize(
    ("installed", "message"),
    [
        (
            partial(wheel, extra={"example/fast.cpython-313-aarch64-linux-gnu.so": b"\x7fELF"}),
            "fast.* is a native file",
        ),
        (partial(wheel, extra={"example/fast.pyd": b"\x7fELF"}), "fast.* is a native file"),
        (partial(wheel, pure=False), "not a pure Python wheel"),
        (partial(wheel, version="1.1"), r"example 1\.1 is installed, but lambda\.txt locks 1\.0"),
        (lock_of("example==1.0\n"), "example is not installed"),
        (damaged, "example is missing: install"),
        (without_list_of_files, "has no list of its files"),
        (lambda folder: folder / "lambda.txt", "is missing"),
        (lock_of("# nothing\n"), "locks no distribution"),
    ],
)
def test_distribution_that_cannot_be_packaged_prints_one_line(
    tmp_path: Path, installed: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(SynthesisError, match=message) as refused:
        build(lock=installed(tmp_path), installed=tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.trap(39)
def test_native_file_among_the_sources_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "patient_api")
    (tmp_path / "patient_api" / "fast.so").write_bytes(b"")
    with pytest.raises(SynthesisError, match="native"):
        build(source=tmp_path / "patient_api")


def test_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="no folder handlers"):
        build(source=tmp_path)

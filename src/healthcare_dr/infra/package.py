"""The Lambda package: one zip with the same bytes on every machine.

It contains `patient_api` and the distributions locked in `requirements/lambda.txt`, from the environment that runs this
code; botocore is part of Lambda's runtime. Entries are stored, not deflated: different zlib builds deflate the same
input differently, and the hash of the zip decides whether Lambda gets a new version.
"""

import base64
import hashlib
import io
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Final

from healthcare_dr.errors import SynthesisError

CHECKOUT: Final = Path(__file__).resolve().parents[3]
SOURCE: Final = CHECKOUT / "src" / "patient_api"
LOCK: Final = CHECKOUT / "requirements" / "lambda.txt"

_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_NATIVE: Final = frozenset({".so", ".pyd", ".dylib", ".dll"})
_EXCLUDED_FOLDERS: Final = frozenset({"__pycache__", "test", "tests"})
# Files of the installer, which differ between machines.
_EXCLUDED_NAMES: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})
# The first instant that the zip format can represent.
_TIMESTAMP: Final = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE_644: Final = 0o100644 << 16
_UNIX: Final = 3


@dataclass(frozen=True)
class Package:
    """A zip in memory."""

    content: bytes

    @property
    def sha256_base64(self) -> str:
        """The SHA-256 of the zip in base64, as Lambda represents it."""
        return base64.b64encode(hashlib.sha256(self.content).digest()).decode()

    def write(self, path: Path) -> None:
        """Write the zip to `path`, and create its folder if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)


def build(*, source: Path = SOURCE, lock: Path = LOCK, installed: Path | None = None) -> Package:
    """Return the package of the sources in `source` and the distributions in `lock`.

    `installed` is the folder of the installed distributions, by default the one from which Python imports. Raises
    SynthesisError if a source, a distribution or its locked version is missing, or a file is not pure Python.
    """
    files = dict(_sources(source))
    for name, version in _pins(lock):
        files.update(_distribution(name, version, lock, installed))
    return Package(_zipped(files))


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE_644
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def _sources(source: Path) -> Iterator[tuple[str, bytes]]:
    if not (source / "handlers").is_dir():
        raise SynthesisError(
            f"There is no folder handlers in {source}: the Lambda package is built from a checkout of the project."
        )
    for path in source.rglob("*"):
        name = PurePosixPath("patient_api", path.relative_to(source).as_posix())
        if path.is_file() and _is_packaged(name):
            yield str(name), path.read_bytes()


def _pins(lock: Path) -> list[tuple[str, str]]:
    if not lock.is_file():
        raise SynthesisError(f"{lock} is missing: the Lambda package is built from a checkout of the project.")
    pins = _PIN.findall(lock.read_text(encoding="utf-8"))
    if not pins:
        raise SynthesisError(f"{lock} locks no distribution; lock it again from requirements/lambda.in.")
    return pins


def _distribution(name: str, version: str, lock: Path, installed: Path | None) -> Iterator[tuple[str, bytes]]:
    path = sys.path if installed is None else [str(installed)]
    found = next(iter(metadata.distributions(name=name, path=path)), None)
    if found is None:
        raise SynthesisError(f"{name} is not installed, but {lock.name} locks {version}: install the requirements.")
    if found.version != version:
        raise SynthesisError(
            f"{name} {found.version} is installed, but {lock.name} locks {version}: install the requirements."
        )
    if "Root-Is-Purelib: true" not in (found.read_text("WHEEL") or "").splitlines():
        raise SynthesisError(f"{name} {version} is not a pure Python wheel, so it fits one architecture only.")
    if found.files is None:
        raise SynthesisError(f"{name} {version} has no list of its files: install it again.")
    for file in found.files:
        # Not scripts, which are installed outside the folder of packages.
        if ".." not in file.parts and _is_packaged(file):
            located = Path(str(found.locate_file(file)))
            if not located.is_file():
                raise SynthesisError(f"{located} of {name} is missing: install the requirements again.")
            yield file.as_posix(), located.read_bytes()


def _is_packaged(name: PurePosixPath) -> bool:
    if name.suffix in _NATIVE:
        raise SynthesisError(f"{name} is a native file: the Lambda package must run on every architecture.")
    return not (
        _EXCLUDED_FOLDERS.intersection(name.parts[:-1])
        or name.name.startswith(".")
        or name.suffix in {".pyc", ".pyo"}
        or (name.name in _EXCLUDED_NAMES and name.parts[0].endswith(".dist-info"))
    )

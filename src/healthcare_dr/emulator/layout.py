"""The files of one embedded AWS, all below its home folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from healthcare_dr.errors import EmulatorError


@dataclass(frozen=True)
class Layout:
    """The files and folders below `home`, which is made absolute."""

    home: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", self.home.absolute())

    def process_file(self, kind: str) -> Path:
        """Held locked by the process of that kind (`services` or `edge`) while it lives; holds its id and ports."""
        return self.home / f"{kind}.json"

    @property
    def start_lock(self) -> Path:
        """The lock that is held while a program starts or stops the process."""
        return self.home / "start.lock"

    def log(self, kind: str) -> Path:
        """The log of the process of that kind since its last start."""
        return self.home / f"{kind}.log"

    @property
    def unsaved(self) -> Path:
        """Exists from a start until the state has been saved."""
        return self.home / "unsaved"

    @property
    def lost(self) -> Path:
        """Exists once a process ended without saving its state."""
        return self.home / "lost"

    @property
    def state(self) -> Path:
        """The state of every service, one JSON file each, written at a clean end."""
        return self.home / "state"

    @property
    def objects(self) -> Path:
        """The contents of S3, written as they arrive."""
        return self.home / "s3"

    def temporary(self, kind: str) -> Path:
        """The temporary files of the process of that kind, and its working directory: unpacked functions and the like.

        The services empty theirs when they start and end.
        """
        return self.home / ("tmp" if kind == "services" else f"tmp-{kind}")

    @property
    def replication(self) -> Path:
        """The settings of replication; the process notices changes."""
        return self.home / "replication.json"

    @property
    def conditions(self) -> Path:
        """The faults of a drill; reset at every start, and the process notices changes."""
        return self.home / "conditions.json"

    @property
    def keys(self) -> Path:
        """The folder of certificates and secrets."""
        return self.home / "keys"

    @property
    def authority_certificate(self) -> Path:
        """The certificate that clients trust."""
        return self.keys / "authority.pem"

    @property
    def authority_key(self) -> Path:
        """Signs certificates."""
        return self.keys / "authority.key"

    @property
    def server_certificate(self) -> Path:
        """The certificate, with its chain, of every server on loopback."""
        return self.keys / "server.pem"

    @property
    def server_key(self) -> Path:
        """The key of `server_certificate`."""
        return self.keys / "server.key"

    @property
    def root_secret(self) -> Path:
        """The secret access key of the embedded account's root."""
        return self.keys / "root-secret"

    @property
    def token_key(self) -> Path:
        """Signs tokens."""
        return self.keys / "token.key"

    def make(self) -> None:
        """Make the folders; only their owner may look into `home`.

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


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, atomically."""
    staging = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    staging.replace(path)

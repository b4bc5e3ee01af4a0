"""A whole platform of a benchmark's own, with nothing of whoever runs it."""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.ports import free_port
from bench.running import Finished, run, scratch_folder

HDR = Path(sys.executable).with_name("hdr")


@dataclass(frozen=True)
class Deployed:
    """Where it is: `folder` holds no `.env`, and the platform's state under `home`."""

    folder: Path

    @property
    def home(self) -> Path:
        """Its HDR_HOME."""
        return self.folder / "home"

    @property
    def suffix(self) -> str:
        """Its environment suffix."""
        return "bench"

    @property
    def port(self) -> int:
        """The first port of its embedded AWS."""
        file = self.folder / "port"
        if not file.exists():
            file.write_text(str(free_port()), encoding="utf-8")
        return int(file.read_text(encoding="utf-8"))

    def hdr(self, *arguments: str, codes: Collection[int] = (0,)) -> Finished:
        """Run a command on it.

        Raises:
            BenchError: it ended with none of `codes`.
        """
        return run([HDR, *arguments], environment=self._environment, folder=self.folder, codes=codes)

    @property
    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HDR_", "AWS_"))}
        return kept | {
            "HDR_HOME": str(self.home),
            "HDR_EMULATOR_PORT": str(self.port),
            "ENVIRONMENT_SUFFIX": self.suffix,
        }


@contextmanager
def deployed() -> Iterator[Deployed]:
    """One that runs; stopped afterwards, and gone with its folder."""
    with scratch_folder() as scratch:
        platform = Deployed(scratch)
        try:
            platform.hdr("up")
            yield platform
        finally:
            platform.hdr("down", "--keep")

"""One command at work: its settings, its progress, its signals."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.deploy import Deployment
from healthcare_dr.ops.lifecycle import Lifecycle
from healthcare_dr.ops.ports import Progress
from healthcare_dr.ops.progress import reporting
from healthcare_dr.ops.terraform.interrupts import Interrupts
from healthcare_dr.settings import Settings


@dataclass(frozen=True)
class Session:
    """One command at work."""

    settings: Settings
    progress: Progress
    interrupts: Interrupts

    def deployment(self, name: str) -> Deployment:
        """Return the deployment to a target."""
        target = bootstrap.target_of(self.settings, name)
        return bootstrap.deployment_of(self.settings, target, progress=self.progress, interrupts=self.interrupts)

    def lifecycle(self) -> Lifecycle:
        """Return the lifecycle of the embedded AWS."""
        return Lifecycle(
            emulator=bootstrap.emulator_of(self.settings),
            target=bootstrap.target_of(self.settings, "embedded"),
            root=bootstrap.environment_root(self.settings, "embedded"),
            regions=self.settings.regions,
            audience=self.settings.oidc_audience,
            deployment=lambda: self.deployment("embedded"),
            progress=self.progress,
        )


@contextmanager
def open_session(settings: Settings, console: Console) -> Iterator[Session]:
    """Progress on `console`, and signals that let Terraform save its state; to be entered in the main thread.

    Raises:
        SettingsError: the home cannot be made or written to, or there is no folder for temporary files.
    """
    _choose_temporary_folder()
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        raise SettingsError(f"HDR_HOME={settings.home} cannot be used: {error.strerror}") from error
    with reporting(console) as progress:
        interrupts = Interrupts(progress=progress)
        with interrupts.installed():
            yield Session(settings=settings, progress=progress, interrupts=interrupts)


def _choose_temporary_folder() -> None:
    """Let TMPDIR name a folder that can be written to: Python looks for one, Terraform and Node take what they get."""
    try:
        found = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise SettingsError("there is no folder for temporary files: set TMPDIR to one with room") from error
    if "TMPDIR" in os.environ:
        os.environ["TMPDIR"] = found

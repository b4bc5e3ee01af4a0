"""Compose the operations of one command: its settings, progress, signals, target and tools."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.ops.deploy import Deployment
from healthcare_dr.ops.lifecycle import Lifecycle
from healthcare_dr.ops.lock import claimed
from healthcare_dr.ops.ports import EmbeddedAws, Progress, Target
from healthcare_dr.ops.progress import reporting
from healthcare_dr.ops.status import Status, flatten, read_status
from healthcare_dr.ops.synthesis import synthesize
from healthcare_dr.ops.targets.aws import AwsTarget
from healthcare_dr.ops.targets.embedded import PROVIDER_VERSION, EmbeddedTarget
from healthcare_dr.ops.terraform.binary import find_terraform
from healthcare_dr.ops.terraform.interrupts import Interrupts
from healthcare_dr.ops.terraform.provider_source import prepare_source
from healthcare_dr.ops.terraform.runner import Terraform
from healthcare_dr.ops.terraform.state import read_states
from healthcare_dr.ops.terraform.workspace import is_deployed
from healthcare_dr.ops.warm_throughput import WarmThroughput
from healthcare_dr.settings import Settings

# The accepted provider versions of a target, for messages.
FITTING = {"embedded": PROVIDER_VERSION, "aws": "5.100 or newer, before 7.0"}


def environment_root(settings: Settings, target: str) -> Path:
    """Return the folder of one environment on one target: `<home>/<target>/<suffix>`."""
    return settings.home.absolute() / target / settings.environment_suffix


def claim_of(settings: Settings, target: str, *, drills: bool = False) -> AbstractContextManager[None]:
    """Lock an environment for one command.

    A drill also locks the embedded AWS, which has one time scale for all its environments.
    """
    root = environment_root(settings, target)
    return claimed(root.parent, root) if drills and target == "embedded" else claimed(root)


def emulator_of(settings: Settings) -> EmbeddedAws:
    """Return the embedded AWS of this home. Its replication settings are those of this environment."""
    from healthcare_dr.emulator.emulator import Emulator  # slow to import

    names = settings.names
    buckets = (names.documents_bucket(Emulator.account, region) for region in settings.regions)
    return Emulator(
        only=frozenset({names.records_table, names.audit_table, *buckets}),
        home=settings.home.absolute() / "emulator",
        port=settings.emulator_port,
        regions=settings.regions,
        ends_with=settings.emulator_ends_with,
        tenant_claim=settings.tenant_claim,
    )


def neighbours(settings: Settings) -> tuple[str, ...]:
    """Return the suffixes of the other environments that are deployed to the embedded AWS of this home."""
    own = environment_root(settings, "embedded")
    others = [root for root in own.parent.glob("*") if root.is_dir() and root != own]
    return tuple(sorted(root.name for root in others if _may_be_deployed(root)))


def _may_be_deployed(root: Path) -> bool:
    try:
        return is_deployed(root)
    except DeploymentError:
        return True  # resources were deployed before the state was damaged


def target_of(settings: Settings, name: str) -> Target:
    """Return the target `aws` or `embedded`."""
    root = environment_root(settings, name)
    if name == "aws":
        return AwsTarget(settings=settings, root=root, user_environment=os.environ)
    return EmbeddedTarget(
        emulator=emulator_of(settings),
        root=root,
        user_environment=os.environ,
        endpoints=len(settings.operations_endpoints),
        webhooks=len(settings.operations_webhooks),
    )


def deployment_of(settings: Settings, target: Target, *, progress: Progress, interrupts: Interrupts) -> Deployment:
    """Return a deployment to a target. Finds or downloads Terraform."""
    tools = settings.home.absolute() / "tools"
    binary = find_terraform(
        configured=settings.terraform, tools=tools, base_url=settings.terraform_base_url, say=progress.say
    )
    source = prepare_source(
        terraform=binary,
        accepts=_accepts(target.name, settings),
        fitting=(settings.provider_version if target.name == "aws" else None) or FITTING[target.name],
        configured=settings.provider_mirror,
        environment=os.environ,
        tools=tools,
    )
    return Deployment(
        target=target,
        terraform=Terraform(
            binary=binary.path,
            environment=target.child_environment() | {"TF_CLI_CONFIG_FILE": str(source.cli_configuration)},
            interrupts=interrupts,
            secrets=(*target.operations_endpoints(), *target.operations_webhooks()),
        ),
        synthesize=partial(synthesize, settings, check=interrupts.check),
        domain=settings.names.domain,
        root=environment_root(settings, target.name),
        parallel_init=source.mirror is not None,
        raise_throughput=WarmThroughput(
            target=target,
            names=settings.names,
            regions=settings.regions,
            rate=settings.throttle_rate,
            progress=progress,
        ).ensure,
        progress=progress,
    )


def status_of(settings: Settings, target: Target) -> Status:
    """Return the status of the deployment on a target."""
    running = emulator_of(settings).running() if target.name == "embedded" else None
    return read_status(
        target=target,
        names=settings.names,
        regions=settings.regions,
        states=read_states(target.read_state),
        running=running,
    )


def outputs_of(settings: Settings, target: Target) -> dict[str, str]:
    """Return the outputs of all three stacks as one mapping.

    Raises:
        DeploymentError: a state cannot be read, or its bucket belongs to another account.
    """
    if target.name == "aws" and settings.state_bucket is not None:
        target.preflight()
    return flatten(read_states(target.read_state))


def _accepts(target: str, settings: Settings) -> Callable[[str], bool]:
    """Return a function that accepts the provider versions of a target."""
    if pinned := PROVIDER_VERSION if target == "embedded" else settings.provider_version:
        return lambda version: version == pinned

    def within(version: str) -> bool:
        numbers = tuple(int(part) for part in version.split("-")[0].split(".")[:2] if part.isdigit())
        return (5, 100) <= numbers < (7, 0)

    return within


@dataclass(frozen=True)
class Session:
    """The settings, the progress and the signals of one command."""

    settings: Settings
    progress: Progress
    interrupts: Interrupts

    def deployment(self, name: str) -> Deployment:
        """Return the deployment to a target."""
        target = target_of(self.settings, name)
        return deployment_of(self.settings, target, progress=self.progress, interrupts=self.interrupts)

    def lifecycle(self) -> Lifecycle:
        """Return the lifecycle of the embedded AWS."""
        return Lifecycle(
            emulator=emulator_of(self.settings),
            target=target_of(self.settings, "embedded"),
            root=environment_root(self.settings, "embedded"),
            regions=self.settings.regions,
            audience=self.settings.oidc_audience,
            deployment=lambda: self.deployment("embedded"),
            progress=self.progress,
        )


@contextmanager
def open_session(settings: Settings, console: Console) -> Iterator[Session]:
    """Report progress on `console`, and handle signals so that Terraform saves its state. Main thread only.

    Raises:
        SettingsError: the home cannot be created or written, or there is no folder for temporary files.
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
    """Set TMPDIR to a writable folder, because Terraform and Node use it unchecked."""
    try:
        found = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise SettingsError("there is no folder for temporary files: set TMPDIR to one with room") from error
    if "TMPDIR" in os.environ:
        os.environ["TMPDIR"] = found

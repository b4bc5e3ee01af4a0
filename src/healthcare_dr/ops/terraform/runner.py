"""Run Terraform in a workspace and report its progress.

Terraform leads its own process group, so that a Ctrl-C at the terminal reaches it only through `Interrupts`. It writes
to a log file that is read at the same time, never to a pipe: if `hdr` itself is killed, Terraform completes and saves
its state. Secret settings are replaced in everything that is read, and in the log when Terraform has ended.
"""

import io
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.notifications import without_secrets
from healthcare_dr.ops.terraform.events import (
    ChangeSummary,
    Diagnostic,
    Event,
    OutputChange,
    PlannedChange,
    ResourceEvent,
    Text,
    awaits_peering,
    condense,
    diagnostic,
    parse,
    read_text,
)
from healthcare_dr.ops.terraform.interrupts import Interrupts, Watch
from healthcare_dr.ops.terraform.protection import ProtectedChange, may_destroy, protected_changes
from healthcare_dr.ops.terraform.workspace import Workspace

LOCK_TIMEOUT_SECONDS = 15
POLL_SECONDS = 0.05
SILENCE_SECONDS = 1800.0
GRACE_SECONDS = 120.0
KEPT_LOGS = 60
# Terraform and its provider are Go programs that decode a large schema at every start. Half as many garbage
# collections save a quarter of that processor time and cost less than 100 MB.
GARBAGE_COLLECTION = {"GOGC": "200"}
AUTOMATION = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
PLAN_FILE = "hdr.tfplan"
# States and plans contain secrets, so only their owner may read them.
PRIVATE = 0o077
CHANGES_PENDING = 2


class PeeringInactiveError(DeploymentError):
    """AWS refused the options of a peering connection that is not active yet, and nothing else failed."""


@dataclass(frozen=True)
class Plan:
    """A saved plan, which `apply` carries out exactly."""

    stack: str
    destroys: bool
    changes: tuple[PlannedChange, ...]
    add: int
    change: int
    remove: int
    outputs: tuple[OutputChange, ...]
    pending: bool
    """Whether applying it would change anything, outputs included."""
    protected: tuple[ProtectedChange, ...] = ()
    """What it would destroy although it cannot be created again."""


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing with an event."""
    del event


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """The executable with all its environment variables."""

    binary: Path
    environment: Mapping[str, str]
    interrupts: Interrupts
    lock_timeout_seconds: int = LOCK_TIMEOUT_SECONDS
    secrets: Sequence[str] = ()
    """What neither a message, nor a log, nor a plan in JSON may contain."""

    def init(self, workspace: Workspace) -> None:
        """Initialize the provider and the backend.

        Raises:
            DeploymentError: with Terraform's diagnostics.
        """
        run = self._run(workspace, "init", ["-input=false", "-no-color"], ignore)
        if run.code != 0:
            output = "\n".join(event.line for event in run.events if isinstance(event, Text))
            raise self._failed(workspace, run, read_text(output))

    def validate(self, workspace: Workspace) -> None:
        """Check the configuration against the provider's schema, without requests to AWS.

        Raises:
            DeploymentError: with the first error.
        """
        run = self._run(workspace, "validate", ["-json"], ignore)
        try:
            report = json.loads(run.log.read_text(encoding="utf-8"))
            valid, diagnostics = bool(report["valid"]), [diagnostic(raw) for raw in report["diagnostics"]]
        except (ValueError, LookupError, TypeError, AttributeError):
            # It ended before it wrote its report.
            raise self._failed(workspace, run) from None
        if not valid:
            raise self._failed(workspace, run, diagnostics)

    def plan(self, workspace: Workspace, *, destroy: bool = False, inspect: bool = True) -> Plan:
        """Refresh the state from AWS and save a plan.

        Args:
            workspace: of the stack.
            destroy: plan the destruction of every resource.
            inspect: find what is protected. This costs a second run of Terraform if the plan may destroy something.

        Raises:
            DeploymentError: with Terraform's diagnostics.
        """
        arguments = ["-json", "-input=false", "-detailed-exitcode", f"-out={PLAN_FILE}", self._lock_timeout()]
        run = self._run(workspace, "plan", arguments + (["-destroy"] if destroy else []), ignore)
        if run.code not in (0, CHANGES_PENDING):
            raise self._failed(workspace, run)
        summary = next((event for event in run.events if isinstance(event, ChangeSummary)), None)
        changes = tuple(event for event in run.events if isinstance(event, PlannedChange) and event.action != "read")
        outputs = next((event for event in run.events if isinstance(event, tuple)), ())
        inspected = inspect and may_destroy(changes)
        return Plan(
            stack=workspace.stack,
            destroys=destroy,
            changes=changes,
            add=summary.add if summary else 0,
            change=summary.change if summary else 0,
            remove=summary.remove if summary else 0,
            outputs=outputs,
            pending=run.code == CHANGES_PENDING,
            protected=protected_changes(workspace.stack, self.show_plan(workspace)) if inspected else (),
        )

    def apply(self, workspace: Workspace, *, listen: Listener = ignore) -> None:
        """Carry out the saved plan exactly.

        Raises:
            PeeringInactiveError: a plan of what is left succeeds once the connection is active.
            DeploymentError: with Terraform's diagnostics; completed changes are in the state.
        """
        arguments = ["-json", "-input=false", self._lock_timeout(), PLAN_FILE]
        run = self._run(workspace, "apply", arguments, listen)
        if run.code != 0:
            raise self._failed(workspace, run)
        (workspace.folder / PLAN_FILE).unlink()

    def create(self, workspace: Workspace, *, listen: Listener = ignore) -> int:
        """Plan and apply in one run, unattended; returns the number of resources created.

        Only for a stack without resources, because nothing inspects its plan.
        One process loads the provider and its schema once, which saves about three seconds over a saved plan.

        Raises:
            DeploymentError: with Terraform's diagnostics; completed changes are in the state.
        """
        arguments = ["-json", "-input=false", "-auto-approve", self._lock_timeout()]
        run = self._run(workspace, "apply", arguments, listen)
        if run.code != 0:
            raise self._failed(workspace, run)
        summaries = [event for event in run.events if isinstance(event, ChangeSummary)]
        return summaries[-1].add if summaries else 0

    def show_plan(self, workspace: Workspace) -> dict[str, Any]:
        """Return the saved plan in Terraform's JSON, as policy scanners read it."""
        run = self._run(workspace, "show", ["-json", PLAN_FILE], ignore)
        if run.code != 0:
            raise self._failed(workspace, run)
        document = dict(json.loads(run.log.read_text(encoding="utf-8")))
        run.log.unlink()  # a plan may contain secrets
        return document

    def _lock_timeout(self) -> str:
        return f"-lock-timeout={self.lock_timeout_seconds}s"

    def _run(self, workspace: Workspace, verb: str, arguments: Sequence[str], listen: Listener) -> "_Run":
        self.interrupts.check()
        log = _new_log(workspace, verb)
        with log.open("wb") as out:
            child = subprocess.Popen(
                [self.binary.absolute(), verb, *arguments],
                cwd=workspace.folder,
                env=GARBAGE_COLLECTION | dict(self.environment) | AUTOMATION,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
                umask=PRIVATE,
            )
        events = []
        with self.interrupts.watching(child) as watch, log.open(encoding="utf-8", errors="replace") as lines:
            silence = _Silence(watch)
            for line in _follow(lines, child, silence.tick):
                silence.reset()
                event = parse(without_secrets(line, self.secrets))
                if isinstance(event, ResourceEvent) and event.phase == "start":
                    watch.began()
                if event is not None:
                    events.append(event)
                    listen(event)
            code = child.wait()
        self._remove_secrets(log)
        if code != 0:
            self.interrupts.check()
            if silence.ended:
                raise DeploymentError(
                    f"{workspace.stack}: {self.binary.name} {verb} printed nothing for {SILENCE_SECONDS / 60:.0f} min "
                    f"and was ended: check the network; the same command goes on from where it stopped (log: {log})"
                )
        return _Run(code=code, events=tuple(events), log=log)

    def _remove_secrets(self, log: Path) -> None:
        """Replace the secrets in a log, of which `show` writes the values in clear text."""
        if not self.secrets:
            return
        written = log.read_text(encoding="utf-8", errors="replace")
        if (clean := without_secrets(written, self.secrets)) != written:
            log.write_text(clean, encoding="utf-8")

    def _failed(
        self, workspace: Workspace, run: "_Run", diagnostics: Sequence[Diagnostic] | None = None
    ) -> DeploymentError:
        if diagnostics is None:
            diagnostics = [event for event in run.events if isinstance(event, Diagnostic)]
        if not any(item.severity == "error" for item in diagnostics):
            lines = [event.line for event in run.events if isinstance(event, Text)]
            ending = f"exited with {run.code}" + (f": {' '.join(lines)[-300:]}" if lines else "")
            diagnostics = [Diagnostic(severity="error", summary=ending, detail="", address="")]
        line = condense(diagnostics, folder=workspace.folder, program=self.binary.name)
        error = PeeringInactiveError if awaits_peering(diagnostics) else DeploymentError
        return error(f"{workspace.stack}: {line} (log: {run.log})")


class _Silence:
    """Ends a Terraform that hangs. It prints every ten seconds while it applies, and nothing while it downloads the
    provider of 700 MB."""

    def __init__(self, watch: Watch) -> None:
        self.ended = False
        self._watch = watch
        self._since = time.monotonic()

    def reset(self) -> None:
        """Record that a line was printed."""
        self._since = time.monotonic()

    def tick(self) -> None:
        """Interrupt Terraform when it has printed nothing for too long, so that it saves its state; then kill it."""
        self._watch.tick()
        silent = time.monotonic() - self._since
        if silent > SILENCE_SECONDS and not self.ended:
            self.ended = True
            self._watch.interrupt()
        elif silent > SILENCE_SECONDS + GRACE_SECONDS:
            self._watch.kill()


@dataclass(frozen=True)
class _Run:
    code: int
    events: tuple[Event, ...]
    log: Path


def resource_events(listen: Callable[[ResourceEvent], None]) -> Listener:
    """Return a listener for resources only, without reads of data sources."""

    def only(event: Event) -> None:
        if isinstance(event, ResourceEvent) and event.action != "read":
            listen(event)

    return only


def _follow(lines: io.TextIOBase, child: subprocess.Popen[bytes], tick: Callable[[], None]) -> Iterator[str]:
    """Yield whole lines as they are written, until the child has ended and all is read. Call `tick` meanwhile."""
    part = ""
    while True:
        ended = child.poll() is not None
        while chunk := lines.readline():
            part += chunk
            if part.endswith("\n"):
                yield part
                part = ""
        if ended:
            break
        tick()
        time.sleep(POLL_SECONDS)
    if part:
        yield part


def _new_log(workspace: Workspace, verb: str) -> Path:
    workspace.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in sorted(workspace.logs.glob("*.log"), key=lambda path: path.name)[:-KEPT_LOGS]:
        old.unlink(missing_ok=True)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return workspace.logs / f"{now}-{workspace.stack}-{verb}.log"

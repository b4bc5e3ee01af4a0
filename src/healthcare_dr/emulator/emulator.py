"""The handle on one embedded AWS: starts and stops its processes, and returns how to reach it."""

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from healthcare_dr.emulator import fault_state
from healthcare_dr.emulator.admin_api import SECRET_HEADER, PendingChanges, get_health_checks, get_pending_changes
from healthcare_dr.emulator.configuration import HOST, Layout, Ports
from healthcare_dr.emulator.credentials import make_secrets
from healthcare_dr.emulator.launcher import (
    START_TIMEOUT,
    STOP_TIMEOUT,
    await_ready,
    collected,
    end,
    refuse_taken,
    spawn,
)
from healthcare_dr.emulator.locks import POLL_SECONDS, exclusive, held
from healthcare_dr.emulator.process import KINDS, Kind
from healthcare_dr.emulator.replication import Replication
from healthcare_dr.emulator.replication import settings as replication_settings
from healthcare_dr.emulator.route53.model import CheckStatus
from healthcare_dr.emulator.services.middleware import API_PATH
from healthcare_dr.emulator.token_issuer import load_key, sign
from healthcare_dr.errors import EmulatorError

# A process that runs writes its id and ports within moments.
RECORD_SECONDS = 5.0


@dataclass(frozen=True)
class Emulator:
    """A handle, not a process: all state is under `home`, and any number of handles may name the same one."""

    home: Path
    port: int
    """Where the AWS services listen; the three ports after it are taken as well."""
    regions: tuple[str, str] = ("us-east-1", "us-west-2")
    account: str = "123456789012"
    # False is ministack without fixes, and without an edge: it shows that a fix is needed.
    patched: bool = True
    ends_with: int | None = None
    """The id of the process with which the embedded AWS ends, however that ends: a test run, a job of CI."""
    only: frozenset[str] = frozenset()
    """The tables and buckets whose replication this handle reads and sets: those of one environment. Empty: all."""
    tenant_claim: str = "tenant"
    """The claim of its tokens that names the tenant."""

    @property
    def _layout(self) -> Layout:
        return Layout(self.home)

    @property
    def _ports(self) -> Ports:
        return Ports(account=self.account, port=self.port, regions=self.regions)

    def start(self) -> None:
        """Start the processes that do not run, and return when all answer.

        Raises:
            EmulatorError: a port is taken, it runs with other ports, it ended, or it does not answer in time.
        """
        make_secrets(self._layout)
        with exclusive(self._layout.start_lock, within=START_TIMEOUT + STOP_TIMEOUT):
            missing = [kind for kind in self._kinds if not self._lives(kind)]
            self._refuse_other_ports()
            refuse_taken(self._ports, kinds=missing)
            ended: dict[Kind, Callable[[], bool]] = {
                kind: partial(self._has_ended, kind) for kind in self._kinds if kind not in missing
            }
            spawned: dict[Kind, int] = {}
            try:
                for kind in missing:
                    spawned[kind] = spawn(
                        kind, self._layout, self._ports, patched=self.patched, ends_with=self.ends_with
                    )
                    ended[kind] = partial(collected, spawned[kind])
                await_ready(ended, self._layout, self._ports)
            except BaseException:
                # Ctrl-C too: they have sessions of their own, and would come up after this call has failed.
                for kind, pid in spawned.items():
                    if not collected(pid):
                        end(kind, self._layout, pid)
                raise

    def check_ports(self) -> None:
        """Check the ports of the processes that do not run; `start` does so too.

        Raises:
            EmulatorError: one cannot be used.
        """
        refuse_taken(self._ports, kinds=[kind for kind in self._kinds if not self._lives(kind)])

    def stop(self) -> None:
        """End the processes; the services save their state and end their functions. Does nothing when none runs.

        Raises:
            EmulatorError: the services had to be killed, so their state is lost.
        """
        if not self._layout.home.exists():
            return
        with exclusive(self._layout.start_lock, within=START_TIMEOUT + STOP_TIMEOUT):
            # The edge first, since it calls the services.
            for kind in reversed(KINDS):
                if not self._lives(kind):
                    continue
                pid, _ = self._recorded(kind)
                if not end(kind, self._layout, pid) and kind == "services":
                    raise EmulatorError(
                        f"the embedded AWS did not end within {STOP_TIMEOUT.seconds} s and was killed, so its state "
                        f"is lost: see {self._layout.log(kind)}, then start again with `hdr up`"
                    )

    def running(self) -> bool:
        """Return whether all its processes live. Each holds a lock: no stale or reused process id deceives."""
        return all(self._lives(kind) for kind in self._kinds)

    def processes(self) -> dict[str, int]:
        """Return the ids of the processes that live, by name: `services` and `edge`."""
        return {kind: self._recorded(kind)[0] for kind in self._kinds if self._lives(kind)}

    def lost_state(self) -> bool:
        """Return whether a process ended without saving, so that all resources are lost, except objects in S3.

        A Terraform state kept elsewhere then no longer matches: start anew with `erase`.
        """
        return self._layout.lost.exists() or (not self._lives("services") and self._layout.unsaved.exists())

    def erase(self) -> None:
        """Stop, and forget every resource, how replication was set and what was played; keys stay."""
        self.stop()
        for folder in (self._layout.state, self._layout.objects, *map(self._layout.temporary, KINDS)):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self._layout.lost, self._layout.unsaved, self._layout.replication, self._layout.fault_state):
            file.unlink(missing_ok=True)

    def replication(self) -> Replication:
        """Return the settings of replication between the regions.

        Raises:
            EmulatorError: another program wrote the settings file.
        """
        settings = replication_settings.read(self._layout.replication)
        return settings.of(min(self.only, default=""))

    def set_replication(
        self, *, tables: bool | None = None, documents: bool | None = None, lag_seconds: float | None = None
    ) -> None:
        """Set the arguments that are not None, running or not. Pending changes wait by the new settings from now on.

        Paused changes are kept, and applied when the process ends in order: the queue is not part of its state.

        Raises:
            EmulatorError: a value is out of range.
        """
        self._layout.make()
        replication_settings.change(
            self._layout.replication, tables=tables, documents=documents, lag_seconds=lag_seconds, only=self.only
        )

    def pending(self) -> int:
        """Return how many writes to tables and documents have not arrived in the other region.

        Raises:
            EmulatorError: no response.
        """
        return self._pending_changes().pending

    def waiting_seconds(self) -> float:
        """Return the age of the oldest write that has not arrived in the other region; 0 when all have.

        Raises:
            EmulatorError: no response.
        """
        return self._pending_changes().waiting_seconds

    def edge_addresses(self) -> dict[str, tuple[str, int]]:
        """By region, the address and port of its front door, which stands for port 443 of that region's host names."""
        return {region: (address, self._ports.edge_port) for region, address in self._ports.edge_addresses.items()}

    def dns(self) -> tuple[str, int]:
        """The address and port where DNS is answered, over UDP and TCP."""
        return HOST, self._ports.dns_port

    def health_checks(self) -> dict[str, CheckStatus]:
        """Return the status of each Route 53 health check by its id; none when the edge process does not run.

        Raises:
            EmulatorError: the edge process does not answer.
        """
        return get_health_checks(self._layout, self._ports) if self._lives("edge") else {}

    def set_edge_fault(self, region: str, fault: fault_state.Fault, *, hosts: Collection[str] = ()) -> None:
        """Let a region's front door behave like `fault`, until something else is played or the process starts anew.

        `hosts` are the names whose clients meet it; without any, all do.

        Raises:
            EmulatorError: the region has no front door, or there is no such fault.
        """
        self._refuse_other_regions(region)
        self._layout.make()
        played = fault_state.EdgeFault(mode=fault.mode, delay_seconds=fault.delay_seconds)
        fault_state.set_edge_fault(self._layout.fault_state, region, played, hosts=hosts)

    def time_scale(self) -> float:
        """Return the time scale: how many times faster than in real time a drill's clocks run (see `conditions`)."""
        return fault_state.read(self._layout.fault_state).time_scale

    def set_time_scale(self, scale: float) -> None:
        """Set it, from 1 (real time) to 20; a new process begins in real time.

        Raises:
            EmulatorError: it is out of range.
        """
        self._layout.make()
        fault_state.change(self._layout.fault_state, time_scale=scale)

    def refuse_control_planes(self, *, refused: bool, environment: str = fault_state.ALL) -> None:
        """Deny Route 53, IAM and Lambda's control plane to requests without `bypass_header`, or allow them again.

        With the suffix of an `environment`, requests for another environment are not denied (see `control_planes`).
        """
        self._layout.make()
        fault_state.change(self._layout.fault_state, control_planes_refused=refused, environment=environment)

    def bypass_header(self) -> tuple[str, str]:
        """The header, and its secret value, with which a fault still reaches a refused control plane."""
        make_secrets(self._layout)
        return SECRET_HEADER, self._layout.read_root_secret()

    def environment(self) -> dict[str, str]:
        """Return the variables that direct the AWS provider, the AWS CLI and boto3 to it, to be added to an environment
        without other `AWS_*` variables.
        """
        make_secrets(self._layout)
        direct = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST)))
        return {
            "AWS_ENDPOINT_URL": self._ports.endpoint,
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_SECRET_ACCESS_KEY": self._layout.read_root_secret(),
            "AWS_CA_BUNDLE": str(self._layout.authority_certificate),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": direct,
            "no_proxy": direct,
        }

    def issuer(self) -> str:
        """The `iss` of its tokens, and where discovery begins."""
        return self._ports.issuer

    def token(
        self,
        *,
        subject: str,
        tenant: str,
        scopes: Sequence[str],
        audience: str = "healthcare-dr",
        lifetime: timedelta = timedelta(hours=1),
    ) -> str:
        """A signed access token, valid from now on."""
        make_secrets(self._layout)
        return sign(
            load_key(self._layout.token_key),
            issuer=self.issuer(),
            subject=subject,
            tenant=tenant,
            tenant_claim=self.tenant_claim,
            scopes=scopes,
            audience=audience,
            lifetime=lifetime,
        )

    def api_url(self, api_id: str) -> str:
        """The address that reaches an HTTP API's `$default` stage; verify it against `certificate`."""
        return f"{self._ports.endpoint}{API_PATH}{api_id}"

    @property
    def certificate(self) -> Path:
        """The authority that clients of the API and of the issuer have to trust (PEM)."""
        return self._layout.authority_certificate

    @property
    def _kinds(self) -> tuple[Kind, ...]:
        return KINDS if self.patched else ("services",)

    def _lives(self, kind: Kind) -> bool:
        return held(self._layout.process_file(kind))

    def _has_ended(self, kind: Kind) -> bool:
        return not self._lives(kind)

    def _pending_changes(self) -> PendingChanges:
        # Without patches, ministack replicates within the write.
        if not self.patched or not self._lives("services"):
            return PendingChanges()
        return get_pending_changes(self._layout, self._ports, only=self.only)

    def _recorded(self, kind: Kind) -> tuple[int, Ports]:
        """Return the id and the ports of a process that runs, which writes them once it holds the lock.

        Raises:
            EmulatorError: the process has not written them in time, or the file holds something else.
        """
        file, deadline = self._layout.process_file(kind), time.monotonic() + RECORD_SECONDS
        while True:
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                pid, regions = int(content.pop("pid")), tuple(content.pop("regions"))
                return pid, Ports(**content, regions=regions)
            except (AttributeError, KeyError, TypeError, ValueError):
                if time.monotonic() > deadline:
                    raise EmulatorError(
                        f"{file} does not say which process of the embedded AWS holds it: find that with "
                        f"`fuser {file}`, end it, and start again with `hdr up`"
                    ) from None
            time.sleep(POLL_SECONDS)

    def _refuse_other_ports(self) -> None:
        for kind in self._kinds:
            if self._lives(kind) and (runs := self._recorded(kind)[1]) != self._ports:
                raise EmulatorError(
                    f"the embedded AWS of {self.home} already runs on port {runs.port}: "
                    f"set HDR_EMULATOR_PORT={runs.port}, or stop it first with `hdr down --keep`"
                )

    def _refuse_other_regions(self, region: str) -> None:
        if region not in self.regions:
            raise EmulatorError(f"{region} has no front door: choose {' or '.join(self.regions)}")

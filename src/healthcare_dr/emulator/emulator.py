"""The embedded AWS of one home folder: start and stop its processes, set faults, and return its addresses."""

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
from healthcare_dr.emulator.admin_api import (
    RECEIVERS_PATH,
    SECRET_HEADER,
    Notification,
    PendingChanges,
    get_health_checks,
    get_notifications,
    get_pending_changes,
)
from healthcare_dr.emulator.configuration import HOST, Layout, Ports, make_secrets
from healthcare_dr.emulator.files import POLL_SECONDS, exclusive, is_locked
from healthcare_dr.emulator.launcher import (
    START_TIMEOUT,
    STOP_TIMEOUT,
    await_ready,
    check_ports,
    end,
    has_exited,
    spawn,
)
from healthcare_dr.emulator.process import KINDS, Kind
from healthcare_dr.emulator.replication import Replication
from healthcare_dr.emulator.replication import settings as replication_settings
from healthcare_dr.emulator.route53.model import CheckStatus
from healthcare_dr.emulator.services.middleware import API_PATH
from healthcare_dr.emulator.token_issuer import load_key, sign
from healthcare_dr.errors import EmulatorError

# A process writes its id and ports moments after it has locked the file.
RECORD_SECONDS = 5.0


@dataclass(frozen=True)
class Emulator:
    """The embedded AWS of one home folder.

    It is a handle, not a process: all state is in files under `home`, and any number of handles may refer to the same
    one.
    """

    home: Path
    port: int
    """The port of the AWS services; the three ports after it are used as well."""
    regions: tuple[str, str] = ("us-east-1", "us-west-2")
    account: str = "123456789012"
    # False runs ministack without patches and without an edge process, to show that a patch is needed.
    patched: bool = True
    ends_with: int | None = None
    """The id of a process, such as a test run. The embedded AWS ends when that process has ended."""
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
        """Start the processes that do not run, and return when all respond.

        Raises:
            EmulatorError: a port is taken, it runs with other ports, a process ended, or it does not respond in time.
        """
        make_secrets(self._layout)
        with exclusive(self._layout.start_lock, within=START_TIMEOUT + STOP_TIMEOUT):
            missing = [kind for kind in self._kinds if not self._is_running(kind)]
            self._check_same_ports()
            check_ports(self._ports, kinds=missing)
            ended: dict[Kind, Callable[[], bool]] = {
                kind: partial(self._has_ended, kind) for kind in self._kinds if kind not in missing
            }
            spawned: dict[Kind, int] = {}
            try:
                for kind in missing:
                    spawned[kind] = spawn(
                        kind, self._layout, self._ports, patched=self.patched, ends_with=self.ends_with
                    )
                    ended[kind] = partial(has_exited, spawned[kind])
                await_ready(ended, self._layout, self._ports)
            except BaseException:
                # Also after Ctrl-C: the processes have their own sessions, and would continue to start.
                for kind, pid in spawned.items():
                    if not has_exited(pid):
                        end(kind, self._layout, pid)
                raise

    def check_ports(self) -> None:
        """Check the ports of the processes that do not run; `start` does so too.

        Raises:
            EmulatorError: a port cannot be used.
        """
        check_ports(self._ports, kinds=[kind for kind in self._kinds if not self._is_running(kind)])

    def stop(self) -> None:
        """End the processes. The services save their state and end their functions. Does nothing when no process runs.

        Raises:
            EmulatorError: the services had to be killed, so their state is lost.
        """
        if not self._layout.home.exists():
            return
        with exclusive(self._layout.start_lock, within=START_TIMEOUT + STOP_TIMEOUT):
            # The edge first, since it calls the services.
            for kind in reversed(KINDS):
                if not self._is_running(kind):
                    continue
                pid, _ = self._process_record(kind)
                if not end(kind, self._layout, pid) and kind == "services":
                    raise EmulatorError(
                        f"the embedded AWS did not end within {STOP_TIMEOUT.seconds} s and was killed, so its state "
                        f"is lost: see {self._layout.log(kind)}, then start again with `hdr up`"
                    )

    def running(self) -> bool:
        """Return whether all processes run. Each holds a lock, so a stale or reused process id does not count."""
        return all(self._is_running(kind) for kind in self._kinds)

    def processes(self) -> dict[str, int]:
        """Return the ids of the running processes by name: `services` and `edge`."""
        return {kind: self._process_record(kind)[0] for kind in self._kinds if self._is_running(kind)}

    def lost_state(self) -> bool:
        """Return whether a process ended without saving, so that all resources are lost, except objects in S3.

        A Terraform state kept elsewhere then no longer matches: start anew with `erase`.
        """
        return self._layout.lost.exists() or (not self._is_running("services") and self._layout.unsaved.exists())

    def erase(self) -> None:
        """Stop, and delete all resources, the replication settings and the faults. Keys are kept."""
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
        """Return, by region, the address and port of the edge listener, which serves as port 443 of that region's host
        names.
        """
        return {region: (address, self._ports.edge_port) for region, address in self._ports.edge_addresses.items()}

    def dns(self) -> tuple[str, int]:
        """Return the address and port of the name server, for UDP and TCP."""
        return HOST, self._ports.dns_port

    def health_checks(self) -> dict[str, CheckStatus]:
        """Return the status of each Route 53 health check by its id; none when the edge process does not run.

        Raises:
            EmulatorError: the edge process does not respond.
        """
        return get_health_checks(self._layout, self._ports) if self._is_running("edge") else {}

    def set_edge_fault(self, region: str, fault: fault_state.EdgeFault, *, hosts: Collection[str] = ()) -> None:
        """Set the fault of a region's edge listener, until it is set again or a process restarts.

        The fault applies to clients that request one of `hosts`, or to all when it is empty.

        Raises:
            EmulatorError: the region has no edge listener.
        """
        if region not in self.regions:
            raise EmulatorError(f"{region} has no edge listener: choose {' or '.join(self.regions)}")
        self._layout.make()
        fault_state.set_edge_fault(self._layout.fault_state, region, fault, hosts=hosts)

    def set_clock_ahead(self, region: str, seconds: float, *, functions: Collection[str]) -> None:
        """Set by how many seconds the clocks of functions, by their names, are ahead in a region; 0 for none.

        Only `time.time` is affected: the monotonic clock and the services keep real time. A restart resets it.

        Raises:
            EmulatorError: the error is out of range.
        """
        self._layout.make()
        fault_state.set_clock_ahead(self._layout.fault_state, region, seconds, functions=functions)

    def time_scale(self) -> float:
        """Return the factor by which the clocks of a drill are faster than real time (see `fault_state`)."""
        return fault_state.read(self._layout.fault_state).time_scale

    def set_time_scale(self, scale: float) -> None:
        """Set the time scale, from 1 (real time) to 20. A restart of a process resets it to 1.

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
        """Return the header, and its secret value, with which a request reaches a denied control plane."""
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
        """Return the URL of the token issuer: the `iss` of its tokens."""
        return self._ports.issuer

    def receiver(self, name: str) -> str:
        """Return the URL of the receiver of notifications with this name."""
        return f"{self._ports.issuer}{RECEIVERS_PATH}/{name}"

    def notifications(self) -> list[Notification]:
        """Return the notifications that the receivers got, the oldest first; none when the edge process does not run.

        Raises:
            EmulatorError: the edge process does not respond.
        """
        return get_notifications(self._layout, self._ports) if self._is_running("edge") else []

    def token(
        self,
        *,
        subject: str,
        tenant: str,
        scopes: Sequence[str],
        audience: str = "healthcare-dr",
        lifetime: timedelta = timedelta(hours=1),
    ) -> str:
        """Return a signed access token, valid from now on."""
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
        """Return the URL of an HTTP API's `$default` stage; its certificate is signed by `certificate`."""
        return f"{self._ports.endpoint}{API_PATH}{api_id}"

    @property
    def certificate(self) -> Path:
        """Return the authority that clients of the APIs and of the issuer must trust (PEM)."""
        return self._layout.authority_certificate

    @property
    def _kinds(self) -> tuple[Kind, ...]:
        return KINDS if self.patched else ("services",)

    def _is_running(self, kind: Kind) -> bool:
        return is_locked(self._layout.process_file(kind))

    def _has_ended(self, kind: Kind) -> bool:
        return not self._is_running(kind)

    def _pending_changes(self) -> PendingChanges:
        # Without patches, ministack replicates within the write.
        if not self.patched or not self._is_running("services"):
            return PendingChanges()
        return get_pending_changes(self._layout, self._ports, only=self.only)

    def _process_record(self, kind: Kind) -> tuple[int, Ports]:
        """Return the id and the ports of a running process, which writes them once it holds the lock.

        Raises:
            EmulatorError: the process has not written them in time, or the file has another content.
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
                        f"{file} does not name its process of the embedded AWS: find the process with "
                        f"`fuser {file}`, end it, and start again with `hdr up`"
                    ) from None
            time.sleep(POLL_SECONDS)

    def _check_same_ports(self) -> None:
        for kind in self._kinds:
            if self._is_running(kind) and (runs := self._process_record(kind)[1]) != self._ports:
                raise EmulatorError(
                    f"the embedded AWS of {self.home} already runs on port {runs.port}: "
                    f"set HDR_EMULATOR_PORT={runs.port}, or stop it first with `hdr down --keep`"
                )

"""The handle on one embedded AWS: starts and stops its process, and says how to reach it."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from healthcare_dr.emulator import checks as health_checks
from healthcare_dr.emulator import conditions
from healthcare_dr.emulator.asking import SECRET_HEADER
from healthcare_dr.emulator.configuration import HOST, Ports
from healthcare_dr.emulator.credentials import make_secrets, root_secret
from healthcare_dr.emulator.free import refuse_taken
from healthcare_dr.emulator.launch import START_TIMEOUT, STOP_TIMEOUT, await_ready, collected, end, spawn
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.locks import exclusive, held
from healthcare_dr.emulator.replication import Replication
from healthcare_dr.emulator.replication import pending as replication_pending
from healthcare_dr.emulator.replication import settings as replication_settings
from healthcare_dr.emulator.tokens import load_key, sign
from healthcare_dr.errors import EmulatorError


@dataclass(frozen=True)
class Emulator:
    """A handle, not a process: all state is under `home`, and any number of handles may name the same one."""

    home: Path
    port: int
    """Where the AWS services listen; the three ports after it are taken as well."""
    regions: tuple[str, str] = ("us-east-1", "us-west-2")
    account: str = "123456789012"
    # False is ministack as it is: it shows that a fix is needed.
    fixed: bool = True

    @property
    def _layout(self) -> Layout:
        return Layout(self.home)

    @property
    def _ports(self) -> Ports:
        return Ports(account=self.account, port=self.port, regions=self.regions)

    def start(self) -> None:
        """Start the process unless it runs, and return when it answers.

        Raises:
            EmulatorError: a port is taken, it runs with other ports, it died, or it does not answer in time.
        """
        make_secrets(self._layout)
        with exclusive(self._layout.start_lock, within=START_TIMEOUT + STOP_TIMEOUT):
            if self.running():
                self._refuse_other_ports()
                await_ready(self._layout, self._ports, ended=lambda: not self.running())
            else:
                self._refuse_taken_ports()
                pid = spawn(self._layout, self._ports, fixed=self.fixed)
                try:
                    await_ready(self._layout, self._ports, ended=lambda: collected(pid))
                except BaseException:
                    # Ctrl-C too: it has a session of its own, and would come up when nobody expects it any more.
                    if not collected(pid):
                        end(self._layout, pid)
                    raise

    def stop(self) -> None:
        """End the process, which saves its state and ends its Lambdas; does nothing when none runs.

        Raises:
            EmulatorError: it had to be killed, so its state is lost.
        """
        if not self._layout.home.exists():
            return
        with exclusive(self._layout.start_lock, within=START_TIMEOUT + STOP_TIMEOUT):
            if not self.running():
                return
            pid, _ = self._recorded()
            if end(self._layout, pid):
                return
            raise EmulatorError(
                f"the embedded AWS did not end within {STOP_TIMEOUT.seconds} s and was killed, so its state "
                f"is lost: see {self._layout.log}, then start anew with `hdr up`"
            )

    def running(self) -> bool:
        """Whether its process lives. That is a lock it holds: no stale or reused process number deceives."""
        return held(self._layout.process_file)

    def lost_state(self) -> bool:
        """Whether a process ended without saving, so that what was deployed is gone (but not what is in S3).

        A Terraform state kept elsewhere then no longer matches: begin anew with `erase`.
        """
        return self._layout.lost.exists() or (not self.running() and self._layout.unsaved.exists())

    def erase(self) -> None:
        """Stop, and forget every resource, how replication was set and what was played; keys stay."""
        self.stop()
        for folder in (self._layout.state, self._layout.objects, self._layout.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self._layout.lost, self._layout.unsaved, self._layout.replication, self._layout.conditions):
            file.unlink(missing_ok=True)

    def replication(self) -> Replication:
        """How replication between the regions is set.

        Raises:
            EmulatorError: somebody else wrote the file that holds it.
        """
        return replication_settings.read(self._layout.replication)

    def set_replication(
        self, *, tables: bool | None = None, documents: bool | None = None, lag_seconds: float | None = None
    ) -> None:
        """Set what is not None, running or not: what is not applied yet waits by the new settings from now on.

        What stands still is kept, and applied when the process ends in order: the queue is not part of its state.

        Raises:
            EmulatorError: a value is out of range.
        """
        self._layout.make()
        replication_settings.change(
            self._layout.replication, tables=tables, documents=documents, lag_seconds=lag_seconds
        )

    def pending(self) -> int:
        """How many writes to tables and documents have not arrived in the other region.

        Raises:
            EmulatorError: the process does not say.
        """
        return self._waiting().pending

    def waiting_seconds(self) -> float:
        """How long ago the oldest write that has not arrived in the other region was made; 0 when all have.

        Raises:
            EmulatorError: the process does not say.
        """
        return self._waiting().waiting_seconds

    def doors(self) -> dict[str, tuple[str, int]]:
        """By region, the address and port of its front door, which stands for port 443 of that region's host names."""
        return {region: (address, self._ports.door_port) for region, address in self._ports.doors.items()}

    def dns(self) -> tuple[str, int]:
        """The address and port where DNS is answered, over UDP and TCP."""
        return HOST, self._ports.dns_port

    def checks(self) -> dict[str, health_checks.CheckStatus]:
        """What Route 53 thinks of each health check, by its id; none when the process does not run.

        Raises:
            EmulatorError: the process does not say.
        """
        return health_checks.ask(self._layout, self._ports) if self.fixed and self.running() else {}

    def play(self, region: str, fault: conditions.Fault) -> None:
        """Let a region's front door behave like `fault`, until something else is played or the process starts anew.

        Raises:
            EmulatorError: the region has no front door, or there is no such fault.
        """
        self._refuse_other_regions(region)
        self._layout.make()
        played = conditions.DoorFault(mode=fault.mode, delay_seconds=fault.delay_seconds)
        conditions.play(self._layout.conditions, region, played)

    def time_scale(self) -> float:
        """How much faster than in real time health checks follow each other and DNS answers expire."""
        return conditions.read(self._layout.conditions).time_scale

    def set_time_scale(self, scale: float) -> None:
        """Set it, from 1 (real time) to 20; a new process begins in real time.

        Raises:
            EmulatorError: it is out of range.
        """
        self._layout.make()
        conditions.change(self._layout.conditions, time_scale=scale)

    def refuse_control_planes(self, *, refused: bool) -> None:
        """Refuse Route 53, IAM and Lambda's control plane to everybody without `pass_header`, or not any more."""
        self._layout.make()
        conditions.change(self._layout.conditions, control_planes_refused=refused)

    def pass_header(self) -> tuple[str, str]:
        """The header, and its secret value, with which a fault still reaches a refused control plane."""
        make_secrets(self._layout)
        return SECRET_HEADER, root_secret(self._layout)

    def environment(self) -> dict[str, str]:
        """What makes the AWS provider, the AWS CLI and boto3 talk to it: to be laid over an environment
        without other `AWS_*` variables."""
        make_secrets(self._layout)
        direct = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST)))
        return {
            "AWS_ENDPOINT_URL": self._ports.endpoint,
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_SECRET_ACCESS_KEY": root_secret(self._layout),
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
            scopes=scopes,
            audience=audience,
            lifetime=lifetime,
        )

    def api_url(self, api_id: str) -> str:
        """The address that reaches an HTTP API's `$default` stage; verify it against `certificate`."""
        return f"{self._ports.endpoint}/_aws/execute-api/{api_id}"

    @property
    def certificate(self) -> Path:
        """The authority that clients of the API and of the issuer have to trust (PEM)."""
        return self._layout.authority_certificate

    def _waiting(self) -> replication_pending.Pending:
        # ministack as it is replicates within the write.
        asked = self.fixed and self.running()
        return replication_pending.ask(self._layout, self._ports) if asked else replication_pending.Pending()

    def _recorded(self) -> tuple[int, Ports]:
        """The process number and the ports of the process that runs."""
        content = json.loads(self._layout.process_file.read_text())
        pid, regions = int(content.pop("pid")), tuple(content.pop("regions"))
        return pid, Ports(**content, regions=regions)

    def _refuse_other_ports(self) -> None:
        _, runs = self._recorded()
        if runs != self._ports:
            raise EmulatorError(
                f"the embedded AWS of {self.home} already runs on port {runs.port}: "
                f"set HDR_EMULATOR_PORT={runs.port}, or stop it first with `hdr down --keep`"
            )

    def _refuse_other_regions(self, region: str) -> None:
        if region not in self.regions:
            raise EmulatorError(f"{region} has no front door: choose {' or '.join(self.regions)}")

    def _refuse_taken_ports(self) -> None:
        refuse_taken(self._ports, fixed=self.fixed)

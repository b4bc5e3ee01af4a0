"""Puts draining and restoring together for a target."""

import time
from collections.abc import Callable
from functools import partial

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, STACKS, Names
from healthcare_dr.ops.drain import preconditions
from healthcare_dr.ops.drain.drain_flag import DrainFlag
from healthcare_dr.ops.drain.readiness import verified
from healthcare_dr.ops.drain.switch import Ask, Dns, Drain, Preconditions, Readiness, Restore, surviving_of
from healthcare_dr.ops.ports import REGIONAL, BreakableAws, Target
from healthcare_dr.ops.status import api_prober
from healthcare_dr.ops.terraform.state import read_settled
from healthcare_dr.ops.verify.live_target import open_live_target
from healthcare_dr.settings import Settings


class DrainServices:
    """`drain` and `restore` of one region; `emulator` is None on AWS.

    Raises:
        SettingsError: the region is unknown.
        DeploymentError: the platform is not deployed.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        target: Target,
        emulator: BreakableAws | None,
        region: str,
        say: Callable[[str], None],
        ask: Ask | None = None,
    ) -> None:
        self._settings, self._target, self._emulator, self._region = settings, target, emulator, region
        self._surviving = surviving_of(region, settings.regions)
        self._names = Names(settings.environment_suffix)
        states = {stack: read_settled(stack, partial(target.read_state, stack)) for stack in STACKS}
        missing = [
            stack
            for stack in STACKS
            if not states[stack].deployed or (stack in REGIONAL and "api_endpoint" not in states[stack].outputs)
        ]
        if missing:
            raise DeploymentError(
                f"nothing is deployed of {', '.join(missing)}: deploy first (`hdr up` or `hdr deploy`)"
            )
        if emulator is not None and not emulator.running():
            raise DeploymentError("the embedded AWS does not run: start it with `hdr up`")
        self._client = target.client("dynamodb", self._surviving)
        urls = [str(states[stack].outputs["api_endpoint"]) for stack in REGIONAL]
        self._around = Preconditions(
            region=region,
            surviving=self._surviving,
            urls=dict(zip(settings.regions, urls, strict=True)),
            ask=ask or api_prober(target),
            dns=self._dns(str(states[GLOBAL].outputs.get("name_servers", ""))),
            ttl=settings.dns_ttl / (emulator.time_scale() if emulator else 1.0),
            clock=time.monotonic,
            sleep=time.sleep,
            say=say,
        )

    def drain(self) -> Drain:
        """Takes the traffic away, with clients of the surviving region alone."""
        return Drain(around=self._around, flag=self._flag(self._region), other=self._flag(self._surviving))

    def restore(self) -> Restore:
        """Gives it back, after a look at the data of both regions."""
        conflicts: list[Readiness] = [
            partial(preconditions.open_conflicts, client, table=self._names.records_table, region=region)
            for client, region in (
                (self._client, self._surviving),
                (self._target.client("dynamodb", self._region), self._region),
            )
        ]
        return Restore(
            around=self._around,
            flag=self._flag(self._region),
            readiness=(*conflicts, self._verified),
        )

    def _verified(self) -> list[str]:
        live = open_live_target(self._settings, self._target, self._emulator)
        return verified(live, self._region, self._around.say)

    def _dns(self, name_servers: str) -> Dns:
        name = self._names.api_domain
        if self._emulator is not None:
            return partial(preconditions.counted, self._emulator.dns(), name)
        return partial(preconditions.first_answering, [host for host in name_servers.split(",") if host], name)

    def _flag(self, region: str) -> DrainFlag:
        # The surviving region's own flag was written by its peer, and has been replicated here.
        return DrainFlag(
            client=self._client,
            records=self._names.records_table,
            audit=self._names.audit_table,
            drained=region,
            surviving=surviving_of(region, self._settings.regions),
        )

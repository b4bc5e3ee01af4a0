"""Compose draining and restoring for a target."""

from collections.abc import Callable
from functools import partial
from typing import Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL
from healthcare_dr.ops.drain import preconditions
from healthcare_dr.ops.drain.drain_flag import DrainFlag
from healthcare_dr.ops.drain.switch import Dns, TrafficSwitch, surviving_of
from healthcare_dr.ops.http import api_prober
from healthcare_dr.ops.ports import REGIONAL, EmbeddedAws, Target
from healthcare_dr.ops.terraform.state import read_states
from healthcare_dr.ops.verify.check import Verification
from healthcare_dr.ops.verify.checks import RESTORE_CHECKS
from healthcare_dr.ops.verify.live_target import open_live_target
from healthcare_dr.ops.verify.runner import verify
from healthcare_dr.settings import Settings

LIMIT_SECONDS: Final = 30.0
# Restoring must not depend on control planes: their findings count, but a missing response is only reported.
CONTROL_PLANES: Final = ("iam", "lambda", "route53")


def traffic_switch(
    *,
    settings: Settings,
    target: Target,
    emulator: "EmbeddedAws | None",
    region: str,
    say: Callable[[str], None],
) -> TrafficSwitch:
    """Return the switch of one region; `emulator` is None on AWS. Draining needs clients of the other region only.

    Raises:
        SettingsError: the region is unknown.
        DeploymentError: the platform is not deployed, or the embedded AWS does not run.
    """
    surviving, names = surviving_of(region, settings.regions), settings.names
    states = read_states(target.read_state)
    missing = [
        stack
        for stack, state in states.items()
        if not state.deployed or (stack in REGIONAL and "api_endpoint" not in state.outputs)
    ]
    if missing:
        raise DeploymentError(f"nothing is deployed of {', '.join(missing)}: deploy first (`hdr up` or `hdr deploy`)")
    if emulator is not None and not emulator.running():
        raise DeploymentError("the embedded AWS does not run: start it with `hdr up`")
    # The surviving region's own flag was written in the peer, and is replicated into this table.
    flag = partial(
        DrainFlag,
        client=target.client("dynamodb", surviving),
        records=names.records_table,
        audit=names.audit_table,
    )

    def conflicts(place: str) -> list[str]:
        client = target.client("dynamodb", place)
        return preconditions.open_conflicts(client, table=names.records_table, region=place)

    def verified() -> list[str]:
        say(f"checking whether {region} is ready ({len(RESTORE_CHECKS)} checks of `hdr verify`)")
        live = open_live_target(settings, target, emulator)
        return reasons(verify(live, RESTORE_CHECKS, regions=(region,), limit_seconds=LIMIT_SECONDS), say)

    return TrafficSwitch(
        region=region,
        surviving=surviving,
        urls={
            place: str(states[stack].outputs["api_endpoint"])
            for place, stack in zip(settings.regions, REGIONAL, strict=True)
        },
        flag=flag(drained=region, surviving=surviving),
        surviving_flag=flag(drained=surviving, surviving=region),
        readiness=(partial(conflicts, surviving), partial(conflicts, region), verified),
        probe=api_prober(target),
        dns=_dns(emulator, str(states[GLOBAL].outputs.get("name_servers", "")), names.api_domain),
        ttl=settings.dns_ttl / (emulator.time_scale() if emulator else 1.0),
        say=say,
    )


def reasons(done: Verification, say: Callable[[str], None]) -> list[str]:
    """Return one line with the first finding that counts and the number of others; none if the region is ready.

    A check whose control plane did not respond is only reported.
    """
    against = []
    for finding in done.findings:
        if finding.severity == "unknown" and finding.service in CONTROL_PLANES:
            say(f"not checked: {finding.check}, because {finding.service} does not respond")
        elif finding.severity != "note":
            against.append(finding)
    if not against:
        return []
    more = f", and {len(against) - 1} more" if len(against) > 1 else ""
    return [f"{against[0].check}: {against[0].problem}{more}; `hdr verify` lists all"]


def _dns(emulator: "EmbeddedAws | None", name_servers: str, name: str) -> Dns:
    if emulator is not None:
        return partial(preconditions.counted, emulator.dns(), name)
    return partial(preconditions.first_answering, [host for host in name_servers.split(",") if host], name)

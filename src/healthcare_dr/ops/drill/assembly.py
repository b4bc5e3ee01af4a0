"""Build a drill on the embedded AWS."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from healthcare_dr.emulator.route53.model import checker_regions
from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops import wiring
from healthcare_dr.ops.drain.asking import counted
from healthcare_dr.ops.drill.building import Held, Place, buckets_of, built, new_clock
from healthcare_dr.ops.drill.delivery import EmbeddedDelivery
from healthcare_dr.ops.drill.experiment import Experiment
from healthcare_dr.ops.drill.faults import Faults
from healthcare_dr.ops.drill.ledger import Endpoint
from healthcare_dr.ops.drill.resolver import DnsResolver
from healthcare_dr.ops.drill.runner import Drill
from healthcare_dr.ops.ports import BreakableAws, Progress, Target
from healthcare_dr.ops.token import DEMO_SCOPES
from healthcare_dr.settings import Settings

TENANT: Final = "drill"


def heal(settings: Settings) -> tuple[str, ...]:
    """Undo what a drill that could not end by itself has left broken; says what it was.

    Raises:
        DeploymentError: something is broken and the embedded AWS does not run, or a fault cannot be undone.
    """
    emulator, target = wiring.emulator_of(settings), wiring.target_of(settings, "embedded")
    faults = _faults(settings, emulator, target)
    if not emulator.running() and not faults.left():
        # The next start begins in real time.
        return ()
    target.preflight()
    emulator.set_time_scale(1)
    return faults.undo_all()


@contextmanager
def assembled(
    settings: Settings, experiment: Experiment, *, time_scale: float, progress: Progress, held: Held = nullcontext
) -> Iterator[Drill]:
    """A drill on the embedded AWS, in whose block the time scale holds.

    Raises:
        DeploymentError: the platform is not deployed, or does not run.
        EmulatorError: the time scale is out of range.
    """
    emulator, target = wiring.emulator_of(settings), wiring.target_of(settings, "embedded")
    target.preflight()
    outputs = wiring.outputs_of(settings, target)
    if not {"PrimaryApiId", "SecondaryApiId", "DocumentsBucketPrimary", "DocumentsBucketSecondary"} <= outputs.keys():
        raise DeploymentError("there is nothing to drill: the platform is not deployed; begin with `hdr up`")
    names, regions = Names(settings.environment_suffix), settings.regions
    doors, clock = emulator.doors(), new_clock()
    place = Place(
        label="embedded",
        target=target,
        endpoints={
            region: Endpoint(
                region=region,
                host=f"{outputs[f'{role}ApiId']}.execute-api.{region}.amazonaws.com",
                address=doors[region][0],
                port=doors[region][1],
            )
            for role, region in zip(("Primary", "Secondary"), regions, strict=True)
        },
        buckets=buckets_of(outputs, regions),
        make_resolver=lambda: DnsResolver(server=emulator.dns(), port=doors[regions[0]][1]),
        trust=ssl.create_default_context(cafile=str(emulator.certificate)),
        token=emulator.token(subject="drill", tenant=TENANT, scopes=DEMO_SCOPES, audience=settings.oidc_audience),
        tenant=TENANT,
        checks=partial(_checks, emulator, names, regions),
        dns=partial(counted, emulator.dns(), names.api_domain),
        faults=_faults(settings, emulator, target, hosts=own_hosts(settings, outputs)),
        said={
            "replication_lag_seconds": emulator.replication().lag_seconds,
            "checker_regions": len(checker_regions(time_scale)),
        },
        time_scale=time_scale,
        delivery=EmbeddedDelivery(emulator, clock=clock),
        probes={
            "services_seconds": f"{emulator.environment()['AWS_ENDPOINT_URL']}/_ministack/health",
            "edge_seconds": f"{emulator.issuer()}/.well-known/openid-configuration",
        },
        calibrated=True,
    )
    emulator.set_time_scale(time_scale)
    try:
        with built(settings, experiment, place, clock=clock, progress=progress, held=held) as drill:
            yield drill
    finally:
        emulator.set_time_scale(1)


def own_hosts(settings: Settings, outputs: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """By region, the host names of this environment; none where no other one is behind the front doors.

    A door that fails to all can refuse a connection before it knows what it is for, as a lost region does.
    """
    if not wiring.neighbours(settings):
        return {}
    shared = Names(settings.environment_suffix).api_domain
    return {
        region: (f"{outputs[f'{role}ApiId']}.execute-api.{region}.amazonaws.com", shared)
        for role, region in zip(("Primary", "Secondary"), settings.regions, strict=True)
    }


def _faults(
    settings: Settings,
    emulator: BreakableAws,
    target: Target,
    *,
    hosts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Faults:
    return Faults(
        aws=emulator,
        client=partial(_passing, target, emulator),
        names=Names(settings.environment_suffix),
        regions={"primary": settings.primary_region, "secondary": settings.secondary_region},
        record=wiring.environment_root(settings, "embedded") / "faults.json",
        hosts=hosts,
    )


def _checks(emulator: BreakableAws, names: Names, regions: tuple[str, str]) -> Mapping[str, bool]:
    """By `endpoint <region>`, `drain <region>` and `health <region>`."""
    told: dict[str, str] = {}
    for role, region in zip(("primary", "secondary"), regions, strict=True):
        told |= {names.of(f"{kind}-{role}"): f"{kind} {region}" for kind in ("endpoint", "drain")}
        told[names.of("health", region)] = f"health {region}"
    return {told[check.name]: check.healthy for check in emulator.checks().values() if check.name in told}


def _passing(target: Target, emulator: BreakableAws, service: str, region: str) -> Any:
    """A client whom no refused control plane stops: the fault itself."""
    client = target.client(service, region)
    name, value = emulator.pass_header()
    client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header(name, value))
    return client

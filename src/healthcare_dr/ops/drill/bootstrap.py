"""Compose a drill on the embedded AWS or on AWS.

The composition for AWS has not run against AWS. Its parts are tested with botocore's stubs and fakes.
"""

import asyncio
import base64
import binascii
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal

import httpx

from healthcare_dr.emulator.route53.model import checker_regions
from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.confirm import Consent
from healthcare_dr.ops.drain.preconditions import counted, first_answering
from healthcare_dr.ops.drill import monitors
from healthcare_dr.ops.drill.capabilities import OMITTED_ON_AWS, limits, require_supported
from healthcare_dr.ops.drill.conflict_resolver import ConflictResolver
from healthcare_dr.ops.drill.experiment import Experiment
from healthcare_dr.ops.drill.fault_journal import FaultJournal
from healthcare_dr.ops.drill.faults import FAULTS
from healthcare_dr.ops.drill.faults.fault import AwsTarget, EmbeddedTarget
from healthcare_dr.ops.drill.faults.fis import FisExperiments
from healthcare_dr.ops.drill.load.client import region_of
from healthcare_dr.ops.drill.load.generator import MOST_PER_SECOND, LoadGenerator
from healthcare_dr.ops.drill.load.ledger import Endpoint, Ledger
from healthcare_dr.ops.drill.load.resolver import Answer, DnsResolver, Resolver
from healthcare_dr.ops.drill.monitors import Monitors
from healthcare_dr.ops.drill.progress import ProgressView
from healthcare_dr.ops.drill.record_versions import VersionReader
from healthcare_dr.ops.drill.recovery_checks import RecoveryChecks, ReplicationQueue
from healthcare_dr.ops.drill.run import Drill
from healthcare_dr.ops.drill.self_monitor import Probe, SelfMonitor
from healthcare_dr.ops.ports import EmbeddedAws, Progress, Target
from healthcare_dr.ops.token import DEMO_SCOPES, given_token
from healthcare_dr.settings import ROUTE53_METRICS_REGION, Settings

CALIBRATION_TTL: Final = 3600.0
"""In seconds: during a calibration the name is not resolved again."""
LOOKUP_SECONDS: Final = 15.0
"""The timeout of a lookup: three times that of a client, because a lookup in a busy region is retried anyway."""
TENANT: Final = "drill"
OUTPUTS: Final = {"PrimaryApiId", "SecondaryApiId", "DocumentsBucketPrimary", "DocumentsBucketSecondary"}
"""The outputs of the stacks that a drill needs."""

HoldInterrupts = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class DrillEnvironment:
    """The environment of a drill: how clients reach the APIs, what is monitored, and how faults are injected."""

    label: Literal["embedded", "aws"]
    target: Target
    endpoints: Mapping[str, Endpoint]
    """Each region's own endpoint."""
    outputs: Mapping[str, str]
    make_resolver: Callable[[], Resolver]
    trust: ssl.SSLContext
    token: str
    tenant: str
    """The tenant that the token names."""
    checks: Callable[[], Mapping[str, bool]]
    dns: Callable[[], Mapping[str, int] | None]
    faults: FaultJournal
    settings: Mapping[str, Any]
    """Further settings for the journal."""
    clock: Callable[[], float]
    time_scale: float = 1.0
    queue: ReplicationQueue | None = None
    """None where nothing reports what replication has delivered."""
    probes: Mapping[str, str] = field(default_factory=dict)
    """The addresses of trivial requests that no fault affects, by the field of `Reading` that they fill."""
    calibrated: bool = False
    """Whether this machine serves the platform, so that the load must suit it."""


@contextmanager
def _composed(
    settings: Settings,
    experiment: Experiment,
    environment: DrillEnvironment,
    *,
    progress: Progress,
    hold_interrupts: HoldInterrupts,
) -> Iterator[Drill]:
    """Return a drill, to be run in the block."""
    names, regions, load = settings.names, settings.regions, experiment.load
    scale, clock, token = environment.time_scale, environment.clock, environment.token
    clients = load.model_dump()
    if clients["rate"] is None and not environment.calibrated:
        clients |= {"rate": MOST_PER_SECOND, "rate_reason": "given by the default, since AWS serves the platform"}
    view = ProgressView(progress=progress)
    roles = zip(("Primary", "Secondary"), regions, strict=True)
    # Of this machine's settings only the certificate authorities apply: a proxy would hide the region of a request.
    with httpx.Client(verify=environment.trust, trust_env=False, timeout=LOOKUP_SECONDS) as client:
        ledger = Ledger(
            endpoints=environment.endpoints,
            buckets={region: environment.outputs[f"DocumentsBucket{role}"] for role, region in roles},
            token=token,
            client=client,
            clock=clock,
        )
        load_generator = LoadGenerator(
            name=names.api_domain,
            make_resolver=environment.make_resolver,
            token=token,
            trust=environment.trust,
            clock=clock,
            ledger=ledger,
            drill_id=datetime.now(UTC).strftime("%Y%m%d%H%M%S"),
            regions=[
                Answer(end.host, end.address, end.port, CALIBRATION_TTL) for end in environment.endpoints.values()
            ],
            **clients,
        )
        yield Drill(
            experiment=experiment,
            label=environment.label,
            regions=regions,
            time_scale=scale,
            floor_seconds=(settings.failure_threshold * settings.health_check_interval + settings.dns_ttl) / scale,
            ttl_seconds=settings.dns_ttl / scale,
            settings={
                "regions": list(regions),
                "weights": [settings.primary_weight, settings.secondary_weight],
                "ttl_seconds": settings.dns_ttl,
                "health_check_interval_seconds": settings.health_check_interval,
                "failure_threshold": settings.failure_threshold,
                "time_scale": scale,
                **environment.settings,
                **load.model_dump(mode="json"),
            },
            load_generator=load_generator,
            ledger=ledger,
            monitors=Monitors(
                checks=environment.checks, dns=environment.dns, lag=ledger.lag, clock=clock, time_scale=scale
            ),
            self_monitor=SelfMonitor(
                lateness=load_generator.lateness,
                probes={
                    reading: Probe(url=url, trust=environment.trust, clock=clock)
                    for reading, url in environment.probes.items()
                },
                clock=clock,
            ),
            faults=environment.faults,
            conflicts=ConflictResolver(
                ledger=ledger,
                endpoint=environment.endpoints[regions[1]],
                token=token,
                client=client,
                tables={region: environment.target.client("dynamodb", region) for region in regions},
                table=names.records_table,
                tenant=environment.tenant,
                updated=lambda: {
                    each.record for each in load_generator.history().operations() if each.kind == "append"
                },
                clock=clock,
                sleep=time.sleep,
            ),
            checks=RecoveryChecks(
                ledger=ledger, queue=environment.queue, clock=clock, sleep=time.sleep, report=view.waiting
            ),
            versions=VersionReader(
                endpoints=environment.endpoints, token=token, client=client, clock=clock, sleep=time.sleep
            ),
            clock=clock,
            sleep=time.sleep,
            view=view,
            hold_interrupts=hold_interrupts,
        )


def heal(settings: Settings) -> tuple[str, ...]:
    """Undo the faults that an interrupted drill has left on the embedded AWS, and return their descriptions.

    Raises:
        DeploymentError: a fault is active and the embedded AWS does not run, or a fault cannot be undone.
    """
    emulator, target = bootstrap.emulator_of(settings), bootstrap.target_of(settings, "embedded")
    faults = _embedded_faults(settings, emulator, target)
    if not emulator.running() and not faults.left():
        # The next start begins in real time.
        return ()
    target.preflight()
    emulator.set_time_scale(1)
    return faults.undo_all()


@contextmanager
def embedded_drill(
    settings: Settings,
    experiment: Experiment,
    *,
    time_scale: float,
    progress: Progress,
    hold_interrupts: HoldInterrupts = nullcontext,
) -> Iterator[Drill]:
    """Return a drill on the embedded AWS. The time scale applies in the block.

    Raises:
        DeploymentError: the platform is not deployed, or does not run.
        EmulatorError: the time scale is out of range.
    """
    emulator, target = bootstrap.emulator_of(settings), bootstrap.target_of(settings, "embedded")
    target.preflight()
    outputs = bootstrap.outputs_of(settings, target)
    if not outputs.keys() >= OUTPUTS:
        raise DeploymentError("there is nothing to drill: the platform is not deployed; begin with `hdr up`")
    names, regions = settings.names, settings.regions
    addresses, clock = emulator.edge_addresses(), _new_clock()
    environment = DrillEnvironment(
        label="embedded",
        target=target,
        endpoints={
            region: Endpoint(region=region, host=host, address=addresses[region][0], port=addresses[region][1])
            for region, host in _api_hosts(settings, outputs).items()
        },
        outputs=outputs,
        make_resolver=lambda: DnsResolver(server=emulator.dns(), port=addresses[regions[0]][1]),
        trust=ssl.create_default_context(cafile=str(emulator.certificate)),
        token=emulator.token(subject="drill", tenant=TENANT, scopes=DEMO_SCOPES, audience=settings.oidc_audience),
        tenant=TENANT,
        checks=partial(monitors.embedded_checks, emulator, monitors.check_names(names, regions)),
        dns=partial(counted, emulator.dns(), names.api_domain),
        faults=_embedded_faults(settings, emulator, target, hosts=own_hosts(settings, outputs)),
        settings={
            "replication_lag_seconds": emulator.replication().lag_seconds,
            "checker_regions": len(checker_regions(time_scale)),
        },
        clock=clock,
        time_scale=time_scale,
        queue=ReplicationQueue(emulator, clock=clock),
        probes={
            "services_seconds": f"{emulator.environment()['AWS_ENDPOINT_URL']}/_ministack/health",
            "edge_seconds": f"{emulator.issuer()}/.well-known/openid-configuration",
        },
        calibrated=True,
    )
    emulator.set_time_scale(time_scale)
    try:
        with _composed(settings, experiment, environment, progress=progress, hold_interrupts=hold_interrupts) as drill:
            yield drill
    finally:
        emulator.set_time_scale(1)


def own_hosts(settings: Settings, outputs: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the host names of this environment by region; none where the listeners serve no other environment.

    A listener that fails for all hosts can refuse a connection before it knows the host, as a lost region does.
    """
    if not bootstrap.neighbours(settings):
        return {}
    shared = settings.names.api_domain
    return {region: (host, shared) for region, host in _api_hosts(settings, outputs).items()}


def _new_clock() -> Callable[[], float]:
    """Return a clock of the seconds since now."""
    began = time.monotonic()
    return lambda: time.monotonic() - began


def _api_hosts(settings: Settings, outputs: Mapping[str, str]) -> dict[str, str]:
    """Return the host name of each region's own endpoint."""
    return {
        region: f"{outputs[f'{role}ApiId']}.execute-api.{region}.amazonaws.com"
        for role, region in zip(("Primary", "Secondary"), settings.regions, strict=True)
    }


def _embedded_faults(
    settings: Settings,
    emulator: EmbeddedAws,
    target: Target,
    *,
    hosts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> FaultJournal:
    def client(service: str, region: str) -> Any:
        """Return a client whose calls no refused control plane denies."""
        made = target.client(service, region)
        name, value = emulator.bypass_header()
        made.meta.events.register("before-sign", lambda request, **_: request.headers.add_header(name, value))
        return made

    return FaultJournal(
        target=EmbeddedTarget(
            client=client,
            names=settings.names,
            regions={"primary": settings.primary_region, "secondary": settings.secondary_region},
            aws=emulator,
            hosts=hosts,
        ),
        record=bootstrap.environment_root(settings, "embedded") / "faults.json",
    )


def heal_aws(settings: Settings, *, progress: Progress, target: Target | None = None) -> tuple[str, ...]:
    """Undo the faults that an interrupted drill has left on AWS, and return their descriptions.

    Raises:
        DeploymentError: it is another account, or a fault cannot be undone.
    """
    target = target or bootstrap.target_of(settings, "aws")
    target.preflight()
    return _aws_faults(settings, target, progress, time.monotonic).undo_all()


@contextmanager
def aws_drill(
    settings: Settings,
    experiment: Experiment,
    *,
    token: str,
    consent: Consent,
    progress: Progress,
    hold_interrupts: HoldInterrupts = nullcontext,
    target: Target | None = None,
    resolver: tuple[str, int] | None = None,
    address_of: Callable[[str], str] = socket.gethostbyname,
) -> Iterator[Drill]:
    """Return a drill on AWS, to be run in the block. No fault is injected before `consent` is given.

    `token` is the value of HDR_TOKEN. `target`, `resolver` (address and port of a recursive one) and `address_of`
    default to those of this machine.

    Raises:
        SettingsError: AWS cannot run this experiment, the domain is not delegated, or the token is missing.
        DeploymentError: wrong account, not deployed, DNS leads to no region, no template, or no consent.
    """
    require_supported(experiment, "aws")
    if not settings.dns_delegated:
        raise SettingsError(
            "a drill measures what clients see, and on AWS they find the APIs only once the domain is delegated: "
            "delegate it, set HDR_DNS_DELEGATED=true, deploy, and begin again"
        )
    target = target or bootstrap.target_of(settings, "aws")
    bearer = given_token(target, token, tenant=None, command="hdr drill")
    tenant = _tenant_of(bearer, settings.tenant_claim)
    target.preflight()
    outputs = bootstrap.outputs_of(settings, target)
    if not outputs.keys() >= {*OUTPUTS, "NameServers"}:
        raise DeploymentError("there is nothing to drill: deploy first with `hdr deploy --target aws`")
    names, regions = settings.names, settings.regions
    server = resolver or monitors.system_resolver()
    _require_answer(names.api_domain, server, regions)
    clock = _new_clock()
    faults = _aws_faults(settings, target, progress, clock)
    faults.require(experiment)
    checks = monitors.health_checks(target.client("route53", ROUTE53_METRICS_REGION), names, regions)
    endpoints = monitors.endpoints(_api_hosts(settings, outputs), address_of=address_of)
    consent(_warning(settings, experiment))
    environment = DrillEnvironment(
        label="aws",
        target=target,
        endpoints=endpoints,
        outputs=outputs,
        make_resolver=lambda: DnsResolver(server=server, port=monitors.HTTPS),
        trust=ssl.create_default_context(),
        token=bearer,
        tenant=tenant,
        checks=monitors.CloudWatchChecks(
            cloudwatch=target.client("cloudwatch", ROUTE53_METRICS_REGION), checks=checks, clock=clock
        ),
        dns=lambda: first_answering([host for host in outputs["NameServers"].split(",") if host], names.api_domain),
        faults=faults,
        settings={"on_aws": "; ".join(limits(experiment, "aws"))},
        clock=clock,
    )
    with _composed(settings, experiment, environment, progress=progress, hold_interrupts=hold_interrupts) as drill:
        yield drill


def _aws_faults(settings: Settings, target: Target, progress: Progress, clock: Callable[[], float]) -> FaultJournal:
    names = settings.names
    return FaultJournal(
        target=AwsTarget(
            client=target.client,
            names=names,
            regions={"primary": settings.primary_region, "secondary": settings.secondary_region},
            fis=FisExperiments(client=target.client, names=names, clock=clock, sleep=time.sleep, report=progress.say),
        ),
        record=bootstrap.environment_root(settings, "aws") / "faults.json",
    )


def _tenant_of(token: str, claim: str) -> str:
    """Return the tenant in a token, to recognize the drill's own records. The APIs verify the token."""
    try:
        payload = token.split(".")[1]
        tenant = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))[claim]
    except (IndexError, ValueError, KeyError, TypeError, binascii.Error) as error:
        raise SettingsError(f"HDR_TOKEN names no tenant: the APIs take a JWT with the claim `{claim}`") from error
    return str(tenant)


def _require_answer(name: str, server: tuple[str, int], regions: tuple[str, str]) -> None:
    """Raise DeploymentError unless the shared name leads to an API of the platform."""
    answer = asyncio.run(DnsResolver(server=server, port=monitors.HTTPS).resolve(name))
    if region_of(answer.target) not in regions:
        raise DeploymentError(
            f"{name} leads to {answer.target}, which is no API of {' or '.join(regions)}: is the domain delegated to "
            "the name servers that `hdr outputs --target aws` names?"
        )


def _warning(settings: Settings, experiment: Experiment) -> list[str]:
    """Return the lines that the operator has to consent to."""
    names = dict(zip(("primary", "secondary"), settings.regions, strict=True))
    lines = [f"On AWS, environment {settings.environment_suffix}, this drill breaks what serves real clients:"]
    for step in experiment.method:
        if step.fault in OMITTED_ON_AWS:
            continue
        where = " and ".join(names[role] for role in step.roles)
        until = "until watching ends" if step.lasting is None else f"for {step.lasting:g} s"
        lines.append(f"  {step.fault} in {where}, after {step.at:g} s, {until}")
    lines += [f"  {line}" for line in limits(experiment, "aws")]
    rate, seconds = experiment.load.rate or MOST_PER_SECOND, experiment.watch_seconds
    lines.append(
        f"It sends {rate:g} requests a second for {seconds:g} s and some minutes more, and writes fictitious "
        "patients into append-only records of the token's tenant, where they stay."
    )
    if any(FAULTS[step.fault].longest_seconds_on_aws is not None for step in experiment.method):
        lines.append("FIS bills each action by the minute. How to stop it by hand: docs/fault-injection.md")
    return lines

"""Estimate what a month on AWS costs, by service, from the synthesized stacks and stated traffic.

Three parts add up: what the platform costs while no client calls it, what requests and documents cost, and what drills
cost. In addition, the first deployment raises the throughput of the tables, which costs once. `prices.yaml` contains
prices with their source and the assumptions; an operator's file can replace values.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console
from rich.table import Table

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.capacity import INITIAL, READ, UPDATE, Units, consumed, free_rate, needed
from healthcare_dr.ops.strict_yaml import RepeatedKeyError, load_yaml, read_text
from healthcare_dr.settings import HEALTH_CHECK_INTERVALS
from patient_api.contract.functions import (
    API,
    CONFIRM_DOCUMENTS,
    DRAIN_FLAG_SECONDS,
    HEALTH_SECONDS,
    RECONCILE,
    SENTINEL,
    SENTINEL_INTERVAL_SECONDS,
    FunctionSpec,
)
from patient_api.contract.metrics import Metric

DEFAULTS: Final = Path(__file__).with_name("prices.yaml")
GB: Final = 1e9
MILLION: Final = 1e6
REGIONS: Final = 2
REPLICATION_METRICS: Final = 4
"""Metrics of S3 for each replication rule (S3 User Guide, replication metrics)."""
LARGEST: Final = 8
"""How many lines the report shows."""
DAYS: Final = 365 / 12
MONTH_SECONDS: Final = DAYS * 86400
FAST: Final = min(HEALTH_CHECK_INTERVALS)

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(_Model):
    """The price of a unit in US dollars, and where it is published."""

    unit: str
    usd: Amount
    source: str


class Assumption(_Model):
    """A number that neither the stacks nor the traffic contain, and its reason."""

    value: Amount
    why: str


class Prices(_Model):
    """Prices of one date, and the assumptions."""

    date: date
    prices: Mapping[str, Price]
    assumptions: Mapping[str, Assumption]

    def value(self, name: str) -> float:
        """Return the value of an assumption."""
        return self.assumptions[name].value


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What clients and operators do in a month, in both regions together.

    Attributes:
        requests: requests to the API, health checks not included.
        write_share: the part of them that changes a record, from 0 to 1.
        documents: documents that are uploaded.
        document_mb: mean size of a document.
        records_gb: what both tables hold, in one region.
        documents_gb: what the bucket holds, in one region.
        drills: drills against this deployment.
    """

    requests: float = 0
    write_share: float = 0.2
    documents: float = 0
    document_mb: float = 2
    records_gb: float = 0
    documents_gb: float = 0
    drills: float = 0


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What the synthesized stacks contain that costs something.

    `checked_per_second` is the rate of health check requests that one checker sends to all endpoints, and
    `logged_per_second` the rate of those that are in an access log. `throttle_rate` is the number of requests per
    second that a region's API admits.
    """

    alarms: int
    composite_alarms: int
    dashboards: int
    metrics: int
    replication_rules: int
    keys: int
    zones: int
    health_checks: int
    https_checks: int
    fast_checks: int
    latency_checks: int
    checked_per_second: float
    logged_per_second: float
    fault_actions: int
    access_log_months: float
    function_log_months: float
    throttle_rate: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """One kind of use: its quantity, the price of a unit, and the cost of a month in US dollars."""

    service: str
    what: str
    quantity: float
    unit: str
    price: float

    @property
    def usd(self) -> float:
        """The cost of a month in US dollars."""
        return self.quantity * self.price


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The lines of a month without clients, of the stated traffic, of a million requests, and of one drill.

    `once` are the lines of the first deployment, which `total` does not include.
    """

    prices: Prices
    once: tuple[Line, ...]
    throttle_rate: int
    idle: tuple[Line, ...]
    traffic: tuple[Line, ...]
    million: tuple[Line, ...]
    drill: tuple[Line, ...]
    settings: Mapping[str, float]

    @property
    def total(self) -> float:
        """The cost of the month in US dollars."""
        return usd(self.idle) + usd(self.traffic)

    def document(self) -> dict[str, Any]:
        """Return the JSON document of the estimate, with every line and the prices."""
        parts = {
            "idle": self.idle,
            "million_requests": self.million,
            "drill": self.drill,
            "traffic": self.traffic,
            "once": self.once,
        }
        return {
            "usd_per_month": round(self.total, 2),
            **{
                name: {"usd": round(usd(lines), 2), "lines": [{**asdict(line), "usd": line.usd} for line in lines]}
                for name, lines in parts.items()
            },
            "settings": dict(self.settings),
            **self.prices.model_dump(mode="json"),
        }


def usd(lines: tuple[Line, ...]) -> float:
    """Add up lines, in US dollars."""
    return sum(line.usd for line in lines)


def by_service(lines: tuple[Line, ...]) -> Mapping[str, float]:
    """Add up lines by service, the most expensive first."""
    found: Counter[str] = Counter()
    for line in lines:
        found[line.service] += line.usd  # type: ignore[assignment] # Counter is annotated for integers
    return dict(found.most_common())


def load_prices(file: Path | None = None) -> Prices:
    """Read the prices; values of an operator's file replace the defaults.

    Raises:
        SettingsError: the file cannot be read, is not YAML, or names something that is no price or assumption.
    """
    defaults = Prices.model_validate(load_yaml(DEFAULTS.read_text(encoding="utf-8")))
    if file is None:
        return defaults
    try:
        stated = load_yaml(read_text(file)) or {}
        if not isinstance(stated, Mapping):
            raise SettingsError(f"{file} must hold a mapping with date, prices and assumptions, as prices.yaml does")
        found: dict[str, Any] = defaults.model_dump() | {"date": stated.get("date", defaults.date)}
        for part in ("prices", "assumptions"):
            own = stated.get(part) or {}
            if not isinstance(own, Mapping):
                raise SettingsError(f"{file}: {part} must be a mapping of names")
            if unknown := sorted(map(str, own.keys() - found[part].keys())):
                raise SettingsError(f"{file}: {part} has no {unknown[0]}; it has {', '.join(sorted(found[part]))}")
            found[part] = found[part] | own
        if unknown := sorted(map(str, stated.keys() - found.keys())):
            raise SettingsError(f"{file}: {unknown[0]} is not one of date, prices, assumptions")
        return Prices.model_validate(found)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    except (yaml.YAMLError, RepeatedKeyError, ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            raise SettingsError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        raise SettingsError(f"{file} is not a file of prices: {' '.join(str(error).split())}") from None


def inventory(documents: Mapping[str, Mapping[str, Any]]) -> Inventory:
    """Count what costs something in the Terraform JSON of the three stacks."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for document in documents.values():
        for kind, resources in document.get("resource", {}).items():
            found.setdefault(kind, []).extend(resources.values())
    checks = found.get("aws_route53_health_check", [])
    probing = [check for check in checks if check["type"] != "CALCULATED"]
    stages = found.get("aws_apigatewayv2_stage", [])
    unlogged = tuple(f"/{stage['name']}/" for stage in stages if not stage.get("access_log_settings"))
    kept = {group["name"]: group["retention_in_days"] / DAYS for group in found.get("aws_cloudwatch_log_group", [])}
    return Inventory(
        alarms=len(found.get("aws_cloudwatch_metric_alarm", [])),
        composite_alarms=len(found.get("aws_cloudwatch_composite_alarm", [])),
        dashboards=len(found.get("aws_cloudwatch_dashboard", [])),
        metrics=REGIONS * len(Metric),
        replication_rules=len(found.get("aws_s3_bucket_replication_configuration", [])),
        keys=len(found.get("aws_kms_key", [])) + len(found.get("aws_kms_replica_key", [])),
        zones=len(found.get("aws_route53_zone", [])),
        health_checks=len(checks),
        https_checks=sum(check["type"].startswith("HTTPS") for check in probing),
        fast_checks=sum(check["request_interval"] == FAST for check in probing),
        latency_checks=sum(bool(check.get("measure_latency")) for check in probing),
        checked_per_second=sum(1 / check["request_interval"] for check in probing),
        logged_per_second=sum(
            1 / check["request_interval"] for check in probing if not check["resource_path"].startswith(unlogged)
        ),
        fault_actions=max(
            (len(template["action"]) for template in found.get("aws_fis_experiment_template", [])), default=0
        ),
        access_log_months=max((months for name, months in kept.items() if "/access-" in name), default=0),
        function_log_months=max((months for name, months in kept.items() if "/lambda/" in name), default=0),
        throttle_rate=max(
            (
                int(stage.get("default_route_settings", {}).get("throttling_rate_limit", 0))
                for stage in found.get("aws_apigatewayv2_stage", [])
            ),
            default=0,
        ),
    )


def estimate(documents: Mapping[str, Mapping[str, Any]], traffic: Traffic, prices: Prices) -> Estimate:
    """Estimate a month of the synthesized stacks with this traffic."""
    found = inventory(documents)
    idle = _idle(found, prices)
    slowdown = FAST / max(HEALTH_CHECK_INTERVALS)
    slower = replace(
        found,
        checked_per_second=found.checked_per_second * slowdown,
        logged_per_second=found.logged_per_second * slowdown,
        fast_checks=0,
    )
    drill = _drill(found, prices)
    return Estimate(
        prices=prices,
        idle=idle,
        once=_once(found, prices),
        throttle_rate=found.throttle_rate,
        traffic=(
            *_traffic(found, traffic, prices),
            *(replace(line, quantity=line.quantity * traffic.drills, what=f"drills: {line.what}") for line in drill),
        ),
        million=_traffic(found, Traffic(requests=MILLION, write_share=traffic.write_share), prices),
        drill=drill,
        settings={"HDR_HEALTH_CHECK_INTERVAL=30": usd(_idle(slower, prices)) - usd(idle)} if found.fast_checks else {},
    )


def price_of_increase(before: Units, after: Units, prices: Prices) -> float:
    """Return what DynamoDB charges once, in US dollars, for more warm throughput of a table or index in one region."""
    return usd(_increase(before, after, prices))


def _increase(before: Units, after: Units, prices: Prices, regions: int = 1) -> tuple[Line, ...]:
    reads, writes = (after.read - before.read) * regions, (after.write - before.write) * regions
    return _lines(
        prices,
        ("DynamoDB", "read units of warm throughput", reads, "dynamodb_warm_read_unit"),
        ("DynamoDB", "write units of warm throughput", writes, "dynamodb_warm_write_unit"),
    )


def _once(found: Inventory, prices: Prices) -> tuple[Line, ...]:
    """Return the increase from new tables to what the API's rate requires, in both regions."""
    wanted = needed(found.throttle_rate).values()
    before = Units(read=INITIAL.read * len(wanted), write=INITIAL.write * len(wanted))
    after = Units(read=sum(units.read for units in wanted), write=sum(units.write for units in wanted))
    return _increase(before, after, prices, REGIONS)


def _idle(found: Inventory, prices: Prices) -> tuple[Line, ...]:
    value = prices.value
    checks, logged = (
        rate * value("checkers") * MONTH_SECONDS for rate in (found.checked_per_second, found.logged_per_second)
    )
    probes = MONTH_SECONDS / HEALTH_SECONDS * REGIONS * value("containers")
    flags = MONTH_SECONDS / DRAIN_FLAG_SECONDS * REGIONS * value("containers")
    beats = MONTH_SECONDS / SENTINEL_INTERVAL_SECONDS * REGIONS
    # The sweep for documents runs as often.
    sweeps = beats
    background = beats * _gb_seconds(SENTINEL, value("background_ms")) + sweeps * _gb_seconds(
        CONFIRM_DOCUMENTS, value("background_ms")
    )
    return _lines(
        prices,
        ("Route 53", "hosted zones", found.zones, "route53_zone"),
        ("Route 53", "health checks", found.health_checks, "route53_health_check"),
        ("Route 53", "checks by HTTPS", found.https_checks, "route53_health_check_option"),
        ("Route 53", "checks each 10 s", found.fast_checks, "route53_health_check_option"),
        ("Route 53", "checks with latency", found.latency_checks, "route53_health_check_option"),
        ("API Gateway", "requests of health checkers", checks / MILLION, "apigateway_requests"),
        ("Lambda", "requests of health checkers", checks / MILLION, "lambda_requests"),
        ("Lambda", "their duration", checks * _gb_seconds(API, value("health_ms")) / MILLION, "lambda_gb_seconds"),
        ("Lambda", "scheduled calls", (beats + sweeps) / MILLION, "lambda_requests"),
        ("Lambda", "their duration", background / MILLION, "lambda_gb_seconds"),
        ("DynamoDB", "probes, drain flags, heartbeats", (probes + flags + beats) / MILLION, "dynamodb_read_units"),
        ("DynamoDB", "heartbeats, in both regions", beats * REGIONS / MILLION, "dynamodb_write_units"),
        ("CloudTrail", "data events", (probes + flags + 2 * beats) / MILLION, "cloudtrail_data_events"),
        ("S3", "requests of probes", probes / 1000, "s3_reads"),
        ("KMS", "keys", found.keys, "kms_key"),
        ("KMS", "requests of probes", probes / MILLION, "kms_requests"),
        ("CloudWatch", "alarms", found.alarms, "cloudwatch_alarm"),
        ("CloudWatch", "composite alarms", found.composite_alarms, "cloudwatch_composite_alarm"),
        ("CloudWatch", "dashboards", found.dashboards, "cloudwatch_dashboard"),
        ("CloudWatch", "metrics of the functions", found.metrics, "cloudwatch_metric"),
        ("CloudWatch", "metrics of replication", found.replication_rules * REPLICATION_METRICS, "cloudwatch_metric"),
        *_logs(found, prices, checks, logged),
    )


def _traffic(found: Inventory, traffic: Traffic, prices: Prices) -> tuple[Line, ...]:
    value = prices.value
    writes = traffic.requests * traffic.write_share
    reads = traffic.requests - writes
    units = writes * consumed(UPDATE).write + reads * consumed(READ).write
    called = traffic.requests * _gb_seconds(API, value("request_ms"))
    calls = writes * value("write_calls") + reads * value("read_calls")
    # Only versions, their lineage items and heartbeats pass the filter of the stream.
    streamed = writes * _gb_seconds(RECONCILE, value("reconcile_ms")) * REGIONS
    uploaded = traffic.documents * traffic.document_mb / 1000
    replicated = uploaded + units * value("item_bytes") / GB
    stored = traffic.records_gb * REGIONS
    objects = (traffic.documents_gb + uploaded) * REGIONS
    copies = traffic.documents * REGIONS / 1000
    objects_called = traffic.documents * value("document_calls")
    queries = traffic.requests / value("requests_per_query") / MILLION
    answered = traffic.requests * value("response_bytes") / GB
    return _lines(
        prices,
        ("API Gateway", "requests", traffic.requests / MILLION, "apigateway_requests"),
        ("Lambda", "requests", traffic.requests / MILLION, "lambda_requests"),
        ("Lambda", "their duration", called / MILLION, "lambda_gb_seconds"),
        ("Lambda", "reconciliation, in both regions", streamed / MILLION, "lambda_gb_seconds"),
        ("DynamoDB", "reads", reads * consumed(READ).read / MILLION, "dynamodb_read_units"),
        ("DynamoDB", "writes, in both regions", units * REGIONS / MILLION, "dynamodb_write_units"),
        ("DynamoDB", "storage, in both regions", stored, "dynamodb_gb_month"),
        ("DynamoDB", "point-in-time recovery, in both regions", stored, "dynamodb_recovery_gb_month"),
        ("S3", "storage, in both regions", objects, "s3_gb_month"),
        ("S3", "uploads and copies", copies, "s3_writes"),
        ("S3", "reads for confirmation", copies * REGIONS, "s3_reads"),
        ("S3", "replication time control", uploaded, "s3_replication_time_gb"),
        ("CloudTrail", "data events of tables", calls / MILLION, "cloudtrail_data_events"),
        ("CloudTrail", "data events of documents", objects_called / MILLION, "cloudtrail_data_events"),
        ("Data transfer", "between the regions", replicated, "transfer_between_regions_gb"),
        ("Data transfer", "to clients", answered, "transfer_to_internet_gb"),
        ("Route 53", "queries", queries, "route53_queries"),
        *_logs(found, prices, traffic.requests, traffic.requests),
    )


def _drill(found: Inventory, prices: Prices) -> tuple[Line, ...]:
    sent = Traffic(requests=prices.value("drill_requests"), write_share=0.5)
    minutes = found.fault_actions * prices.value("drill_minutes")
    faults = _lines(prices, ("Fault Injection Service", "actions", minutes, "fis_action_minute"))
    return (*faults, *_traffic(found, sent, prices))


def _logs(found: Inventory, prices: Prices, calls: float, accesses: float) -> Iterator[tuple[str, str, float, str]]:
    for what, name, lines, months in (
        ("access log", "access_log_bytes", accesses, found.access_log_months),
        ("log of the function", "function_log_bytes", calls, found.function_log_months),
    ):
        size = lines * prices.value(name) / GB
        yield "CloudWatch", what, size, "cloudwatch_log_gb"
        yield "CloudWatch", f"{what}, kept {months:.0f} months", size * months, "cloudwatch_log_gb_month"


def _gb_seconds(function: FunctionSpec, duration_ms: float) -> float:
    return function.memory_mb / 1024 * duration_ms / 1000


def _lines(prices: Prices, *charges: tuple[str, str, float, str]) -> tuple[Line, ...]:
    return tuple(
        Line(service=service, what=what, quantity=quantity, unit=price.unit, price=price.usd)
        for service, what, quantity, name in charges
        for price in (prices.prices[name],)
    )


def print_estimate(console: Console, found: Estimate) -> None:
    """Print the cost of a month by service: idle, for a million requests, for a drill, and with the stated traffic."""
    parts = {
        "idle": found.idle,
        "a million requests": found.million,
        "a drill": found.drill,
        "this traffic": found.traffic,
    }
    sums = {name: by_service(lines) for name, lines in parts.items()}
    table = Table(title="US dollars a month", title_justify="left")
    table.add_column("service", no_wrap=True)
    for name in parts:
        table.add_column(name, justify="right")
    services = sorted(
        {service for part in sums.values() for service in part}, key=lambda name: -sums["idle"].get(name, 0)
    )
    for service in services:
        table.add_row(service, *(f"{part.get(service, 0):,.2f}" for part in sums.values()))
    table.add_section()
    table.add_row("total", *(f"{usd(lines):,.2f}" for lines in parts.values()))
    console.print(table)
    console.print(f"This month: ${found.total:,.2f} (idle and this traffic).", highlight=False)
    for setting, difference in found.settings.items():
        changes = "lowers" if difference < 0 else "raises"
        console.print(f"{setting} {changes} the idle cost by ${abs(difference):,.2f}.", highlight=False)
    console.print(
        f"Once, at the first deployment: ${usd(found.once):,.2f} for the warm throughput that "
        f"HDR_THROTTLE_RATE={found.throttle_rate} requires; nothing at a rate of up to {free_rate()}.",
        highlight=False,
    )
    most = sorted((*found.idle, *found.traffic), key=lambda line: -line.usd)[:LARGEST]
    for line in most:
        console.print(
            f"  {line.usd:8,.2f}  {line.service}: {line.what} ({line.quantity:,.4g} {line.unit} at ${line.price:g})",
            highlight=False,
        )
    console.print(
        f"List prices of {found.prices.date}, without free tiers and taxes. An estimate, not a bill: "
        "--json prints every line, each price with its source, and the assumptions.",
        highlight=False,
    )

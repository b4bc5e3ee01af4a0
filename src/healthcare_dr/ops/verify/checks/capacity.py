"""Checks that one region can carry the load of both: throttling, quotas, concurrency and throughput of the tables."""

import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from healthcare_dr.ops.capacity import (
    CONCURRENCY_QUOTA,
    READ_QUOTA,
    WRITE_QUOTA,
    Place,
    Units,
    named,
    needed,
    needed_concurrency,
)
from healthcare_dr.ops.verify.check import REDEPLOY, Problem, each_region, platform
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.warm_throughput import warm_throughput
from patient_api.contract.routes import CLIENT_STAGE, PROBE_STAGE

LOAD_WINDOW: Final = timedelta(hours=24)
LOAD_PERIOD: Final = 300
CONSUMPTION_WINDOW: Final = timedelta(days=14)
CONSUMPTION_PERIOD: Final = 60
"""CloudWatch keeps values of a minute for 15 days."""
RAISE_RATE: Final = "raise HDR_THROTTLE_RATE to a rate that needs as much, then run `hdr deploy`"


@platform(
    "quotas", "C1", "trap 33",
    expects="Lambda allows both regions the same concurrency; on AWS it covers the rate that the API admits, and the "
    "sum of both regions' highest concurrency of the last 24 hours. Less than the burst that the API admits is a note",
    why="After a failover the surviving region takes 3.3 times its load at once.",
    fix=f"request the quota `Concurrent executions` ({CONCURRENCY_QUOTA}) in both regions, in Service Quotas",
    gates_restore=True,
)  # fmt: skip
def quotas(live: LiveTarget, region: str) -> Iterator[str | Problem]:
    limits = {place: _limits(live, place) for place in live.settings.regions}
    peer = live.peer(region)
    here, there = (limits[place]["ConcurrentExecutions"] for place in (region, peer))
    if here != there:
        yield f"{region} runs {here} calls at once, but {peer} runs {there}"
    if live.emulator is not None:
        return  # the limits of the embedded AWS depend on the machine only
    needs = needed_concurrency(live.settings.throttle_rate, live.settings.throttle_burst)
    load = sum(_highest(live, place, "AWS/Lambda", "ConcurrentExecutions") for place in live.settings.regions)
    for place in live.settings.regions:
        allowed = limits[place]["UnreservedConcurrentExecutions"]
        if allowed < needs.sustained:
            rate = live.settings.throttle_rate
            yield f"{place} runs {allowed} calls at once, but HDR_THROTTLE_RATE={rate} needs {needs.sustained}"
        elif allowed < needs.burst:
            burst = live.settings.throttle_burst
            text = f"{place} runs {allowed} calls at once, but HDR_THROTTLE_BURST={burst} needs {needs.burst}"
            # A deployment accepts it with a warning, so it must not keep a region from being restored.
            yield Problem(text, "note")
        if allowed < load:
            yield f"{place} runs {allowed} calls at once, but both regions together have needed {load:.0f}"


@each_region(
    "table-throughput", "C2", "trap 33",
    expects="Both tables and their indexes serve at once what the API admits (HDR_THROTTLE_RATE); on AWS also the "
    "highest consumption of a minute in the last 14 days: the read units of both regions, and the write units of the "
    "region that consumed more, which contain those of the other",
    why="DynamoDB throttles a load beyond the warm throughput while it scales up, which takes up to half an hour each "
    "time it doubles. The surviving region takes its load at once.",
    fix=f"run `hdr deploy`, which raises it; beyond the quota of the account, request {READ_QUOTA} and {WRITE_QUOTA} "
    "in Service Quotas first, or lower HDR_THROTTLE_RATE",
)  # fmt: skip
def throughput(live: LiveTarget, region: str) -> Iterator[str | Problem]:
    names, rate = live.names, live.settings.throttle_rate
    warm: dict[Place, Units] = {}
    for table in (names.records_table, names.audit_table):
        warm |= warm_throughput(live.request("dynamodb", region, "describe_table", TableName=table)["Table"])
    required = {named(place, names): units for place, units in needed(rate).items()}
    # The embedded AWS publishes no metrics of DynamoDB.
    consumed = _consumption(live, list(required)) if live.emulator is None else {}
    for place, wanted in required.items():
        serves = warm.get(place, Units())
        used = consumed.get(place, Units())
        for kind, has, needs, had in (
            ("read", serves.read, wanted.read, used.read),
            ("write", serves.write, wanted.write, used.write),
        ):
            if has < needs:
                yield f"{place} serves {has:,} {kind} units a second at once, HDR_THROTTLE_RATE={rate} needs {needs:,}"
            if has < had:
                text = f"{place} serves {has:,} {kind} units a second at once, {had:,} have been consumed"
                # A deployment raises the throughput to what the rate needs, and no higher.
                yield Problem(text, fix=RAISE_RATE if needs < had else None)


@each_region(
    "api", "R2.1", "trap 33", "trap 41",
    expects="The region's HTTP API exists, has the limits and origins of the settings and the deployed access log, "
    "routes and issuer, and invokes the published function; on AWS its rate covers both regions' load of the last "
    "24 hours",
    why="Clients notice a route, an issuer or a limit that only one region has after the failover.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def api(live: LiveTarget, region: str) -> Iterator[str]:
    api_id, settings = live.deployed.output(region, "api_id"), live.settings
    found = live.request_optional("apigatewayv2", region, "get_api", ("NotFoundException",), ApiId=api_id)
    if found is None:
        yield f"the API {api_id} does not exist"
        return
    origins = sorted(found.get("CorsConfiguration", {}).get("AllowOrigins", ()))
    if origins != sorted(settings.cors_origins):
        yield f"the API allows the origins {origins}, not {sorted(settings.cors_origins)}"
    stages = {
        stage["StageName"]: stage for stage in live.request("apigatewayv2", region, "get_stages", ApiId=api_id)["Items"]
    }
    wanted = (settings.throttle_rate, settings.throttle_burst)
    for name in (CLIENT_STAGE, PROBE_STAGE):
        limits = (stages.get(name) or {}).get("DefaultRouteSettings") or {}
        admitted = (limits.get("ThrottlingRateLimit"), limits.get("ThrottlingBurstLimit"))
        if admitted != wanted:
            yield f"the stage {name} of the API admits {_limits_text(admitted)}, not {_limits_text(wanted)}"
    for deployed in live.deployed.of("aws_apigatewayv2_stage", region):
        name = deployed["name"]
        log = ((stages.get(name) or {}).get("AccessLogSettings") or {}).get("DestinationArn")
        intended = next((log["destination_arn"] for log in deployed["access_log_settings"]), None)
        if log != intended:
            yield f"the stage {name} of the API has the access log {log or '(none)'}, not {intended or '(none)'}"
    for deployed in live.deployed.of("aws_apigatewayv2_integration", region):
        integrations = live.request("apigatewayv2", region, "get_integrations", ApiId=api_id)["Items"]
        if deployed["integration_uri"] not in [found.get("IntegrationUri") for found in integrations]:
            yield "the API does not invoke the published function"
    yield from _routes(live, region, api_id)
    if live.emulator is None:
        calls = sum(_calls(live, place) for place in settings.regions) / LOAD_PERIOD
        if calls > settings.throttle_rate:
            yield f"the API admits {settings.throttle_rate} requests a second, both regions together had {calls:.0f}"


def _limits(live: LiveTarget, region: str) -> dict[str, int]:
    limits: dict[str, int] = live.request("lambda", region, "get_account_settings")["AccountLimit"]
    return limits


def _highest(live: LiveTarget, region: str, namespace: str, metric: str, **dimensions: str) -> float:
    # Until the end of the current period, because the newest minutes matter after a failover.
    periods = math.ceil(live.now().timestamp() / LOAD_PERIOD)
    end = datetime.fromtimestamp(periods * LOAD_PERIOD, UTC)
    statistic = "Sum" if dimensions else "Maximum"
    answer = live.request(
        "cloudwatch", region, "get_metric_statistics",
        Namespace=namespace, MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=end - LOAD_WINDOW, EndTime=end, Period=LOAD_PERIOD, Statistics=[statistic],
    )  # fmt: skip
    return max((float(point[statistic]) for point in answer["Datapoints"]), default=0.0)


def _calls(live: LiveTarget, region: str) -> float:
    return _highest(live, region, "AWS/ApiGateway", "Count", ApiId=live.deployed.output(region, "api_id"))


def _consumption(live: LiveTarget, places: list[Place]) -> dict[Place, Units]:
    """Return the highest consumption per second in any minute that one region would have to serve alone.

    Reads of both regions add up. Writes do not, because those of a region contain what was replicated to it.
    """
    metrics = [(place, kind) for place in places for kind in ("Read", "Write")]
    end = datetime.fromtimestamp(math.ceil(live.now().timestamp() / CONSUMPTION_PERIOD) * CONSUMPTION_PERIOD, UTC)
    loads = [Counter[Any]() for _ in metrics]
    for region in live.settings.regions:
        answer = live.request(
            "cloudwatch", region, "get_metric_data", StartTime=end - CONSUMPTION_WINDOW, EndTime=end,
            MetricDataQueries=[
                {"Id": f"m{number}", "MetricStat": _consumed(place, kind)}
                for number, (place, kind) in enumerate(metrics)
            ],
        )  # fmt: skip
        # One metric may be on several pages.
        for result in answer["MetricDataResults"]:
            number = int(result["Id"].removeprefix("m"))
            _, kind = metrics[number]
            load = loads[number]
            for time, value in zip(result["Timestamps"], result["Values"], strict=True):
                load[time] = load[time] + value if kind == "Read" else max(load[time], value)
    peaks = {
        metric: math.ceil(max(load.values(), default=0) / CONSUMPTION_PERIOD)
        for metric, load in zip(metrics, loads, strict=True)
    }
    return {place: Units(read=peaks[place, "Read"], write=peaks[place, "Write"]) for place in places}


def _consumed(place: Place, kind: str) -> dict[str, Any]:
    dimensions = {"TableName": place.table} | ({"GlobalSecondaryIndexName": place.index} if place.index else {})
    return {
        "Metric": {
            "Namespace": "AWS/DynamoDB",
            "MetricName": f"Consumed{kind}CapacityUnits",
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
        },
        "Period": CONSUMPTION_PERIOD,
        "Stat": "Sum",
    }


def _routes(live: LiveTarget, region: str, api_id: str) -> Iterator[str]:
    issuers = [
        found.get("JwtConfiguration")
        for found in live.request("apigatewayv2", region, "get_authorizers", ApiId=api_id)["Items"]
    ]
    for authorizer in live.deployed.of("aws_apigatewayv2_authorizer", region):
        wanted = [{"Issuer": jwt["issuer"], "Audience": jwt["audience"]} for jwt in authorizer["jwt_configuration"]]
        if issuers != wanted:
            yield f"the API trusts {issuers}, not {wanted}"
    routes = {
        found["RouteKey"]: found for found in live.request("apigatewayv2", region, "get_routes", ApiId=api_id)["Items"]
    }
    for deployed in live.deployed.of("aws_apigatewayv2_route", region):
        key, route = deployed["route_key"], routes.get(deployed["route_key"])
        if route is None:
            yield f"the API has no route {key}"
        elif route.get("AuthorizationType") != deployed["authorization_type"] or sorted(
            route.get("AuthorizationScopes") or ()
        ) != sorted(deployed["authorization_scopes"] or ()):
            yield f"the route {key} requires another authorization than deployed"
        elif route.get("Target") != deployed["target"]:
            yield f"the route {key} has another target than deployed"


def _limits_text(limits: tuple[Any, Any]) -> str:
    return f"{limits[0]} requests a second and bursts of {limits[1]}"

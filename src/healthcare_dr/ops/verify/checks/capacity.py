"""Checks that one region can carry the load of both: throttling, quotas and concurrency."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from healthcare_dr.ops.verify.check import REDEPLOY, each_region, platform
from healthcare_dr.ops.verify.live_target import LiveTarget

LOAD_WINDOW: Final = timedelta(hours=24)
LOAD_PERIOD: Final = 300


@platform(
    "quotas", "C1", "trap 33",
    expects="Lambda allows both regions the same concurrency; on AWS it covers the burst that the API admits, and the "
    "sum of both regions' highest concurrency of the last 24 hours",
    why="After a failover the surviving region takes 3.3 times its load at once.",
    fix="request the quota `Concurrent executions` (L-B99A9384) in both regions, in Service Quotas",
    gates_restore=True,
)  # fmt: skip
def quotas(live: LiveTarget, region: str) -> Iterator[str]:
    limits = {place: _limits(live, place) for place in live.settings.regions}
    peer = live.peer(region)
    here, there = (limits[place]["ConcurrentExecutions"] for place in (region, peer))
    if here != there:
        yield f"{region} runs {here} calls at once, but {peer} runs {there}"
    if live.emulator is not None:
        return  # the limits of the embedded AWS depend on the machine only
    load = sum(_highest(live, place, "AWS/Lambda", "ConcurrentExecutions") for place in live.settings.regions)
    for place in live.settings.regions:
        allowed = limits[place]["UnreservedConcurrentExecutions"]
        if allowed < live.settings.throttle_burst:
            burst = live.settings.throttle_burst
            yield f"{place} runs {allowed} calls at once, but its API admits a burst of {burst} (HDR_THROTTLE_BURST)"
        if allowed < load:
            yield f"{place} runs {allowed} calls at once, but both regions together have needed {load:.0f}"


@each_region(
    "api", "R2.1", "trap 33", "trap 41",
    expects="The region's HTTP API exists, has the limits and origins of the settings and the deployed routes and "
    "issuer, and invokes the published function; on AWS its rate covers both regions' load of the last 24 hours",
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
    limits = (stages.get("$default") or {}).get("DefaultRouteSettings") or {}
    wanted = (settings.throttle_rate, settings.throttle_burst)
    admitted = (limits.get("ThrottlingRateLimit"), limits.get("ThrottlingBurstLimit"))
    if admitted != wanted:
        yield f"the API admits {_limits_text(admitted)}, not {_limits_text(wanted)}"
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

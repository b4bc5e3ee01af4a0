"""Tests of denied control planes."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.exceptions import ClientError

from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.errors import EmulatorError
from unit.emulator.aws import ONCE, REGIONS, Aws
from unit.emulator.edge import EdgeApis

CALLS = {"route53": "list_hosted_zones", "iam": "list_roles", "lambda": "list_functions"}


@pytest.fixture
def refusing(edge: EdgeApis) -> Iterator[EdgeApis]:
    edge.emulator.refuse_control_planes(refused=True)
    yield edge
    edge.emulator.refuse_control_planes(refused=False)


@pytest.mark.trap(27)
@pytest.mark.parametrize("service", CALLS)
def test_denied_control_plane_returns_503_without_the_bypass_header(
    refusing: EdgeApis, patched: Aws, service: str
) -> None:
    client = patched(service, config=ONCE)
    with pytest.raises(ClientError) as refusal:
        getattr(client, CALLS[service])()
    assert refusal.value.response["Error"]["Code"] == "ServiceUnavailable"
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503

    name, secret = refusing.emulator.bypass_header()

    def show(request: AWSPreparedRequest, **_: object) -> None:
        request.headers[name] = secret

    client.meta.events.register("before-send", show)
    assert getattr(client, CALLS[service])()

    refusing.emulator.refuse_control_planes(refused=False)
    assert getattr(patched(service, config=ONCE), CALLS[service])()


@pytest.mark.parametrize("service", CALLS)
def test_denial_applies_to_its_environment_and_to_callers_without_one(
    edge: EdgeApis, patched: Aws, service: str
) -> None:
    def call(environment: str | None) -> Any:
        config = ONCE.merge(Config(user_agent_appid=environment))
        return getattr(patched(service, config=config), CALLS[service])()

    edge.emulator.refuse_control_planes(refused=True, environment="dev")
    try:
        assert call("bee")
        assert call("dev-2")
        for environment in ("dev", None):
            with pytest.raises(ClientError, match="ServiceUnavailable"):
                call(environment)
        edge.emulator.refuse_control_planes(refused=True, environment="bee")
        edge.emulator.refuse_control_planes(refused=False, environment="dev")
        assert call("dev")
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            call("bee")
    finally:
        for environment in ("dev", "bee"):
            edge.emulator.refuse_control_planes(refused=False, environment=environment)
    assert call(None)


@pytest.mark.trap(27)
def test_data_planes_keep_responding(refusing: EdgeApis, patched: Aws) -> None:
    for region in REGIONS:
        assert patched("lambda", region, config=ONCE).invoke(FunctionName=f"echo-{region}")["StatusCode"] == 200
        assert refusing.get(region)[0] == 200
    assert patched("sts", config=ONCE).get_caller_identity()["Account"] == refusing.emulator.account
    assert "TableNames" in patched("dynamodb", config=ONCE).list_tables()


@pytest.mark.parametrize("scale", [0, 0.99, 20.01, float("nan"), True, "2"])
def test_time_scale_out_of_range_is_rejected(emulator: Emulator, scale: Any) -> None:
    with pytest.raises(EmulatorError, match=r"it can be 1 \(real time\) to 20"):
        emulator.set_time_scale(scale)
    assert emulator.time_scale() == 1


def test_restart_resets_faults(fresh: Emulator) -> None:
    fresh.set_time_scale(20)
    fresh.refuse_control_planes(refused=True)
    assert fresh.time_scale() == 20
    fresh.start()
    assert fresh.time_scale() == 1
    assert fresh.health_checks() == {}

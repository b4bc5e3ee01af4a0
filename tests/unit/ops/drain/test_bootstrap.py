"""What a drain asks of its target."""

import json
from typing import cast

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import PRIMARY
from healthcare_dr.ops.drain.bootstrap import DrainServices
from healthcare_dr.ops.ports import Target
from healthcare_dr.settings import Settings


class Elsewhere:
    """A target that notes for which regions clients were wanted."""

    def __init__(self, half_deployed: str | None = None) -> None:
        self.wanted: list[tuple[str, str]] = []
        self.half_deployed = half_deployed

    def read_state(self, stack: str) -> bytes:
        resources = [{"mode": "managed", "instances": [{}]}]
        outputs = {} if stack == self.half_deployed else {"api_endpoint": {"value": f"https://{stack}"}}
        return json.dumps({"version": 4, "resources": resources, "outputs": outputs}).encode()

    def edge_addresses(self) -> dict[str, tuple[str, int]]:
        return {}

    def client(self, service: str, region: str) -> object:
        self.wanted.append((service, region))
        return object()


def moving(target: Elsewhere, region: str) -> DrainServices:
    return DrainServices(
        settings=Settings(_env_file=None), target=cast("Target", target), emulator=None, region=region, say=print
    )


@pytest.mark.trap(27)
@pytest.mark.parametrize(("drained", "surviving"), [("us-east-1", "us-west-2"), ("us-west-2", "us-east-1")])
def test_draining_needs_no_client_of_the_drained_region(drained: str, surviving: str) -> None:
    target = Elsewhere()
    moving(target, drained).drain()
    assert target.wanted == [("dynamodb", surviving)]


@pytest.mark.trap(27)
@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
def test_restoring_begins_with_the_tables_of_both_regions_and_no_control_plane(region: str) -> None:
    target = Elsewhere()
    moving(target, region).restore()
    assert sorted(target.wanted) == [("dynamodb", "us-east-1"), ("dynamodb", "us-west-2")]


def test_partly_deployed_region_prints_one_line() -> None:
    with pytest.raises(DeploymentError, match=r"nothing is deployed of healthcare-dr-primary: deploy first"):
        moving(Elsewhere(half_deployed=PRIMARY), "us-east-1")

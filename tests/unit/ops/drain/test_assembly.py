"""What a drain asks of its target."""

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from healthcare_dr.ops.drain.assembly import Moving
from healthcare_dr.ops.ports import Target
from healthcare_dr.settings import Settings


class Elsewhere:
    """A target that notes for which regions clients were wanted."""

    def __init__(self) -> None:
        self.wanted: list[tuple[str, str]] = []

    def read_state(self, stack: str) -> bytes:
        resources = [{"mode": "managed", "instances": [{}]}]
        return json.dumps({"version": 4, "resources": resources, "outputs": {"id": {"value": stack}}}).encode()

    def api_url(self, outputs: Mapping[str, Any]) -> str:
        return f"https://{outputs['id']}"

    def ca_bundle(self) -> None:
        return None

    def client(self, service: str, region: str) -> object:
        self.wanted.append((service, region))
        return object()


@pytest.mark.trap(27)
@pytest.mark.parametrize(("drained", "surviving"), [("us-east-1", "us-west-2"), ("us-west-2", "us-east-1")])
def test_draining_wants_no_client_of_the_drained_region(drained: str, surviving: str) -> None:
    target = Elsewhere()
    Moving(
        settings=Settings(_env_file=None),
        target=cast("Target", target),
        emulator=None,
        region=drained,
        say=print,
    ).drain()
    assert target.wanted == [("dynamodb", surviving)]

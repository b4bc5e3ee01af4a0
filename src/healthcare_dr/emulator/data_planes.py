"""What runs beside the services: Route 53's data plane and the front doors, with what a drill plays on them."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from healthcare_dr.emulator import checks, conditions, control_planes
from healthcare_dr.emulator.configuration import HOST, Ports
from healthcare_dr.emulator.credentials import root_secret
from healthcare_dr.emulator.doors import Doors
from healthcare_dr.emulator.doors.names import let_functions_find
from healthcare_dr.emulator.fixes import lambda_runtime, route53
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.route53.plane import DataPlane
from healthcare_dr.emulator.route53.publishing import publisher
from healthcare_dr.emulator.route53.reading import Reader

ASK_SECONDS = 5
# Where Route 53 and its metrics are.
GLOBAL = "us-east-1"


class DataPlanes:
    """All of it, for one process; to be made before the first request, and after the fixes."""

    def __init__(self, layout: Layout, ports: Ports) -> None:
        watched = conditions.Watched(layout.conditions)
        secret = root_secret(layout)
        control_planes.install(lambda: watched.now().control_planes_refused, secret=secret)
        self._route53 = DataPlane(
            read=Reader(_client("route53", GLOBAL)),
            doors=ports.doors,
            door_port=ports.door_port,
            dns_address=HOST,
            dns_port=ports.dns_port,
            time_scale=lambda: watched.now().time_scale,
            publish=publisher(_client("cloudwatch", GLOBAL)),
        )
        checks.install(self._route53.checks, secret=secret)
        route53.answer_status_from(self._route53.checks)
        let_functions_find(ports, packages=lambda_runtime.packages())
        self._doors = Doors(
            layout=layout,
            ports=ports,
            conditions=watched.now,
            targets=self._route53.zone_targets,
            listed=_apis_of,
        )

    def start(self) -> None:
        """Listen.

        Raises:
            OSError, EmulatorError: an address or port cannot be used.
        """
        self._doors.start()
        self._route53.start()

    def stop(self) -> None:
        """End, while the services still answer; does nothing when it has ended."""
        self._route53.stop()
        self._doors.stop()


@cache
def _client(service: str, region: str) -> Any:
    """As root, by the environment of the process; without what would let it pass refused control planes."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=ASK_SECONDS, read_timeout=ASK_SECONDS, retries={"total_max_attempts": 1})
    return boto3.session.Session().client(service, region_name=region, config=config)


def _apis_of(region: str) -> Iterable[str]:
    pages = _client("apigatewayv2", region).get_paginator("get_apis").paginate()
    return [str(api["ApiId"]) for page in pages for api in page["Items"]]

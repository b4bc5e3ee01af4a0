"""A live target with given responses, and the resources that were deployed to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from botocore.exceptions import ClientError

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY, STACKS
from healthcare_dr.ops.ports import EmbeddedAws, Target
from healthcare_dr.ops.terraform.state import DeployedResources, StackState
from healthcare_dr.ops.verify.check import Check, Finding
from healthcare_dr.ops.verify.checks import CATALOG
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.runner import CheckRun
from healthcare_dr.settings import Settings

EAST, WEST = "us-east-1", "us-west-2"
ACCOUNT = "123456789012"
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
Answers = Mapping[tuple[str, ...], Any]
"""By (service, region, operation) or (service, operation): a response, an exception to raise, or a function of the
request that returns either."""


def refusal(code: str, status: int = 400) -> ClientError:
    """Return an error of AWS."""
    error = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(cast("Any", error), "Operation")


def resource(kind: str, name: str, /, *, alias: str = "", **attributes: Any) -> dict[str, Any]:
    """Return a resource as a state contains it."""
    provider = f'provider["registry.terraform.io/hashicorp/aws"]{f".{alias}" if alias else ""}'
    return {"mode": "managed", "type": kind, "name": name, "provider": provider,
            "instances": [{"attributes": attributes}]}  # fmt: skip


def deployed(**resources: Sequence[Mapping[str, Any]]) -> DeployedResources:
    """Return the `primary`, `secondary` and `common` resources, and the outputs that every check needs."""
    outputs = {
        stack: {
            "key_arn": f"arn:aws:kms:{region}:{ACCOUNT}:key/{region}",
            "topic_arn": f"arn:aws:sns:{region}:{ACCOUNT}:operations",
            "api_id": f"api-{region}",
            "api_endpoint": f"https://api-{region}.example",
        }
        for stack, region in ((PRIMARY, EAST), (SECONDARY, WEST))
    } | {GLOBAL: {"zone_id": "Z1"}}
    named = dict(zip(STACKS, ("primary", "secondary", "common"), strict=True))
    return DeployedResources(
        states={
            stack: StackState(outputs=outputs[stack], document={"resources": list(resources.get(named[stack], ()))})
            for stack in STACKS
        },
        regions=(EAST, WEST),
    )


@dataclass
class Aws:
    """A target with given responses."""

    answers: Answers
    name: str = "aws"
    requests: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)

    def client(self, service: str, region: str) -> Any:
        return _Client(self, service, region)

    def operations_endpoints(self) -> tuple[str, ...]:
        return ()

    def operations_webhooks(self) -> tuple[str, ...]:
        return ()

    def answer(self, service: str, region: str, operation: str, request: dict[str, Any]) -> Any:
        self.requests.append((service, region, operation, request))
        found = self.answers.get((service, region, operation), self.answers.get((service, operation)))
        assert found is not None, (service, region, operation)
        found = found(request) if callable(found) else found
        if isinstance(found, Exception):
            raise found
        return found


class _Client:
    def __init__(self, aws: Aws, service: str, region: str) -> None:
        self._aws, self._service, self._region = aws, service, region
        self.meta = SimpleNamespace(events=SimpleNamespace(register=lambda *_: None))

    def can_paginate(self, _: str) -> bool:
        return False

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return lambda **request: self._aws.answer(self._service, self._region, operation, request)


def live(
    answers: Answers,
    *,
    held: DeployedResources | None = None,
    name: str = "aws",
    emulator: object = None,
    **rest: Any,
) -> LiveTarget:
    """Return a live target with these responses, by default on AWS without deployed resources."""
    settings = Settings(_env_file=None, **rest.pop("settings", {}))
    return LiveTarget(
        settings=settings,
        target=cast("Target", rest.pop("target", Aws)(answers, name=name)),
        deployed=held or deployed(),
        emulator=cast("EmbeddedAws | None", emulator),
        probe=rest.pop("probe", lambda _: 200),
        now=rest.pop("now", lambda: NOW),
        **rest,
    )


def sent(there: LiveTarget) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return the requests that were sent to the live target."""
    return cast("Aws", there.target).requests


def found(check: str | Check, there: LiveTarget, region: str = EAST) -> list[Finding]:
    """Return the findings of one check in one region."""
    return list(CheckRun(CATALOG[check] if isinstance(check, str) else check, region).run(there))


def problems(check: str, there: LiveTarget, region: str = EAST) -> list[str]:
    """Return the problems that a check finds; no finding may be unknown."""
    findings = found(check, there, region)
    assert [finding.problem for finding in findings if finding.severity == "unknown"] == []
    return [finding.problem for finding in findings]


def points(*values: float, statistic: str = "Sum") -> dict[str, Any]:
    """Return a response of CloudWatch with these values."""
    return {"Datapoints": [{statistic: value} for value in values]}

"""A small platform that answers as it is told, and what was deployed of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from botocore.exceptions import ClientError

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY, STACKS
from healthcare_dr.ops.ports import BreakableAws, Target
from healthcare_dr.ops.verify.catalog import CATALOG
from healthcare_dr.ops.verify.check import Check, Finding
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.runner import CheckRun
from healthcare_dr.ops.verify.terraform_state import TerraformState
from healthcare_dr.settings import Settings

EAST, WEST = "us-east-1", "us-west-2"
ACCOUNT = "123456789012"
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
Answer = Any
"""What an operation answers, an exception that it raises, or a function of the request that gives either."""


def refusal(code: str, status: int = 400) -> ClientError:
    """What AWS answers when it refuses."""
    error = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(cast("Any", error), "Operation")


def resource(kind: str, name: str, /, *, alias: str = "", **attributes: Any) -> dict[str, Any]:
    """A resource as a state holds it."""
    provider = f'provider["registry.terraform.io/hashicorp/aws"]{f".{alias}" if alias else ""}'
    return {"mode": "managed", "type": kind, "name": name, "provider": provider,
            "instances": [{"attributes": attributes}]}  # fmt: skip


def deployed(**resources: Sequence[Mapping[str, Any]]) -> TerraformState:
    """What was deployed: `primary`, `secondary` and `common` resources, and the outputs that every check needs."""
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
    return TerraformState(
        states={
            stack: json.dumps(
                {
                    "version": 4,
                    "outputs": {name: {"value": value} for name, value in outputs[stack].items()},
                    "resources": list(resources.get(named[stack], ())),
                }
            ).encode()
            for stack in STACKS
        },
        regions=(EAST, WEST),
    )


@dataclass
class Aws:
    """A target whose answers are looked up by (service, region, operation), then by (service, operation)."""

    answers: Mapping[tuple[str, ...], Answer]
    name: str = "aws"
    asked: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)

    def client(self, service: str, region: str) -> Any:
        return _Client(self, service, region)

    def answer(self, service: str, region: str, operation: str, request: dict[str, Any]) -> Any:
        self.asked.append((service, region, operation, request))
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
    answers: Mapping[tuple[str, ...], Answer],
    *,
    held: TerraformState | None = None,
    name: str = "aws",
    emulator: object = None,
    **rest: Any,
) -> LiveTarget:
    """A live target with these answers; everything deployed, on AWS, unless told otherwise."""
    settings = Settings(_env_file=None, **rest.pop("settings", {}))
    return LiveTarget(
        settings=settings,
        target=cast("Target", rest.pop("target", Aws)(answers, name=name)),
        deployed=held or deployed(),
        emulator=cast("BreakableAws | None", emulator),
        probe=rest.pop("probe", lambda _: 200),
        now=rest.pop("now", lambda: NOW),
        **rest,
    )


def found(check: str | Check, there: LiveTarget, region: str = EAST) -> list[Finding]:
    """What one check finds in one region."""
    return list(CheckRun(CATALOG[check] if isinstance(check, str) else check, region).run(there))


def problems(check: str, there: LiveTarget, region: str = EAST) -> list[str]:
    """The texts of the failures that a check finds; nothing must be unknown."""
    answered = found(check, there, region)
    assert [finding.problem for finding in answered if finding.severity == "unknown"] == []
    return [finding.problem for finding in answered]

"""Reads what a stack's state says, without Terraform: fast, and it works where nothing was initialized."""

import json
from dataclasses import dataclass, field
from typing import Any

from healthcare_dr.errors import DeploymentError

STATE_VERSION = 4


@dataclass(frozen=True)
class StackState:
    """What a state knows; `resources` counts managed ones, not what is only looked up."""

    resources: int = 0
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def deployed(self) -> bool:
        """Whether anything of the stack exists."""
        return self.resources > 0


def read_state(stack: str, raw: bytes | None) -> StackState:
    """The state in Terraform's format 4, which Terraform and OpenTofu have written since 0.12.

    Raises:
        DeploymentError: it is damaged or of another format.
    """
    if not raw:
        return StackState()
    try:
        document = json.loads(raw)
        version = document["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DeploymentError(f"the state of {stack} is damaged ({error}): restore its last good version") from error
    if version != STATE_VERSION:
        raise DeploymentError(f"the state of {stack} has format {version}, but only {STATE_VERSION} is known here")
    return StackState(
        resources=sum(
            len(resource.get("instances", ()))
            for resource in document.get("resources", ())
            if resource.get("mode") == "managed"
        ),
        outputs={name: output.get("value") for name, output in (document.get("outputs") or {}).items()},
    )

"""Read a stack's state file without Terraform: fast, and without an initialized workspace."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from healthcare_dr.errors import DeploymentError

STATE_VERSION = 4
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class StackState:
    """The content of a state; `resources` counts managed resources only, not data sources."""

    resources: int = 0
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def deployed(self) -> bool:
        """Return whether any resource of the stack exists."""
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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(stack, error) from error
    if version != STATE_VERSION:
        raise DeploymentError(
            f"the state of {stack} has format {version}, but only {STATE_VERSION} is known here: a newer Terraform "
            "wrote it, so use a newer version of this platform, or restore the state's last version of that format"
        )
    try:
        return StackState(
            resources=sum(
                len(resource.get("instances") or ())
                for resource in document.get("resources") or ()
                if resource.get("mode") == "managed"
            ),
            outputs={name: output.get("value") for name, output in (document.get("outputs") or {}).items()},
        )
    except (AttributeError, TypeError) as error:
        raise _damaged(stack, error) from error


def read_settled(stack: str, read: Callable[[], bytes | None]) -> StackState:
    """Return the state that `read` returns, with retries for a second: Terraform truncates a local state before it
    writes it.

    Raises:
        DeploymentError: it stays damaged, or has another format.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        raw, late = read(), time.monotonic() >= deadline
        try:
            state = read_state(stack, raw)
        except DeploymentError:
            if late:
                raise
        else:
            if raw != b"" or late:
                return state
        time.sleep(0.05)


def _damaged(stack: str, error: Exception) -> DeploymentError:
    return DeploymentError(
        f"the state of {stack} is damaged, or another command is writing it ({error}): try again once that has ended, "
        "else restore its last good version"
    )

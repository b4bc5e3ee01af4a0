"""The outputs of all three stacks as one flat mapping, for whatever comes after a deployment."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from healthcare_dr.ops.terraform.state import StackState

# The global stack's outputs exist once and carry no prefix.
PREFIXES = {PRIMARY: "Primary", SECONDARY: "Secondary", GLOBAL: ""}


def flatten(states: Mapping[str, StackState]) -> dict[str, str]:
    """`api_id` of the primary stack becomes `PrimaryApiId`, `records_table` of the global one `RecordsTable`.

    Every value is a string: lists are joined by commas, anything deeper is JSON.
    """
    flat = {
        prefix + "".join(part[:1].upper() + part[1:] for part in name.split("_")): _text(value)
        for stack, prefix in PREFIXES.items()
        for name, value in states[stack].outputs.items()
        if states[stack].deployed
    }
    return dict(sorted(flat.items()))


def write_outputs(flat: Mapping[str, str], file: Path) -> None:
    """Write the mapping as JSON, atomically.

    Raises:
        DeploymentError: the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, staging = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                json.dump(flat, out, indent=2, sort_keys=True)
                out.write("\n")
            Path(staging).chmod(0o644)
            Path(staging).replace(file)
        finally:
            Path(staging).unlink(missing_ok=True)
    except OSError as error:
        raise DeploymentError(f"{file} cannot be written: {error.strerror}") from error


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return json.dumps(value, sort_keys=True)

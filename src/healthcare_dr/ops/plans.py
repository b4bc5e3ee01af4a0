"""Plans as files, for policy scanners."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from healthcare_dr.errors import DeploymentError


def prepare_folder(folder: Path) -> None:
    """Make the folder, before a plan takes its time.

    Raises:
        DeploymentError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeploymentError(f"{folder} cannot be made a folder for the plans: {error.strerror}") from error


def write_plans(plans: Mapping[str, object], folder: Path) -> None:
    """Write each plan as `<stack>.json`, readable by its owner only, because a plan may contain secrets.

    Raises:
        DeploymentError: a file cannot be written.
    """
    for stack, content in plans.items():
        file = folder / f"{stack}.json"
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                os.fchmod(descriptor, 0o600)
                json.dump(content, out)
        except OSError as error:
            raise DeploymentError(f"{file} cannot be written: {error.strerror}") from error

"""Run `hdr` on the embedded AWS with the credentials of a role, as a pipeline runs it on AWS.

`python -P as_role.py <command> …` takes the credentials from the variables that the AWS command line uses.
"""

import os
from typing import Final

from healthcare_dr.cli import main
from healthcare_dr.emulator.emulator import Emulator

CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def use_credentials() -> None:
    """Replace the root credentials in everything that `hdr` passes to Terraform and boto3."""
    credentials = {name: os.environ[name] for name in CREDENTIALS}
    inner = Emulator.environment
    Emulator.environment = lambda self: inner(self) | credentials  # type: ignore[method-assign]


if __name__ == "__main__":
    use_credentials()
    main()

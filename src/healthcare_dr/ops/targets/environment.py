"""The environments of our child processes."""

import re
from collections.abc import Mapping

# What a program needs to run at all, to find its temporary folder, and to reach a registry through a proxy.
PLAIN = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "LANG",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
# What would change what Terraform does behind our back, or mix its log into the events we read; its registry
# credentials may stay.
STEERING = re.compile(r"TF_(?!TOKEN_|REGISTRY_).*")
AUTOMATION = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}


def bare(environment: Mapping[str, str]) -> dict[str, str]:
    """Only what a program needs to run: no credential of the user, whatever it is called."""
    return {name: value for name, value in environment.items() if name in PLAIN or name.startswith("LC_")}


def untouched(environment: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, less what steers Terraform (`TF_CLI_ARGS`, `TF_DATA_DIR`, `TF_LOG`, `TF_VAR_…`)."""
    return {name: value for name, value in environment.items() if not STEERING.fullmatch(name)}

"""The HTTPS recipients of notifications: their values for Terraform, and how messages show them.

The address of a recipient is a secret, such as the integration key of a pager.
"""

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

REPLACEMENT = "(secret)"


def terraform_variables(*, endpoints: Sequence[str], webhooks: Sequence[str]) -> dict[str, str]:
    """Return the environment variables by which Terraform reads the sensitive variables; none without recipients."""
    given = {"operations_endpoints": endpoints, "operations_webhooks": webhooks}
    return {f"TF_VAR_{name}": json.dumps(list(addresses)) for name, addresses in given.items() if addresses}


def revealed(addresses: Sequence[SecretStr]) -> tuple[str, ...]:
    """Return the secret values of a setting."""
    return tuple(address.get_secret_value() for address in addresses)


def shown(address: str) -> str:
    """Return an address without its secret parts, for messages."""
    return f"https://{urlsplit(address).netloc}/…"


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """Replace secrets in a text. Terraform's JSON escapes an ampersand in them."""
    for secret in sorted(secrets, key=len, reverse=True):
        for form in (secret, secret.replace("&", "\\u0026")):
            text = text.replace(form, REPLACEMENT)
    return text

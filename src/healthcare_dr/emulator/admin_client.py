"""Read what a process of the embedded AWS reports about itself, authenticated by root's secret."""

import hmac
import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from healthcare_dr.emulator.credentials import root_secret
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.errors import EmulatorError

SECRET_HEADER: Final = "x-healthcare-dr-root"  # noqa: S105 - the name of a header
TIMEOUT_SECONDS: Final = 10


def authenticated(headers: Mapping[str, str], secret: str) -> bool:
    """Return whether a request carries root's secret."""
    return hmac.compare_digest(headers.get(SECRET_HEADER, "").encode(), secret.encode())


def ask(layout: Layout, address: str, path: str, *, what: str) -> Any:
    """Return the JSON response of the process at `address` to `GET path`.

    Raises:
        EmulatorError: no response; the message names `what` was requested.
    """
    context = ssl.create_default_context(cafile=str(layout.authority_certificate))
    connection = http.client.HTTPSConnection(urlsplit(address).netloc, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", path, headers={SECRET_HEADER: root_secret(layout)})
        response = connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise EmulatorError(f"the embedded AWS did not report {what}: HTTP {response.status}")
        return json.loads(content)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EmulatorError(f"the embedded AWS did not report {what}: {reason}") from None
    finally:
        connection.close()

"""Asks the process of the embedded AWS about itself: answered on loopback, to whoever knows root's secret."""

import http.client
import json
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.credentials import root_secret
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.errors import EmulatorError

SECRET_HEADER: Final = "x-healthcare-dr-root"  # noqa: S105 - the name of a header
TIMEOUT_SECONDS: Final = 10


def ask(layout: Layout, ports: Ports, path: str, *, what: str) -> Any:
    """The JSON that it answers to `GET path`.

    Raises:
        EmulatorError: it does not say `what`.
    """
    context = ssl.create_default_context(cafile=str(layout.authority_certificate))
    connection = http.client.HTTPSConnection(urlsplit(ports.endpoint).netloc, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", path, headers={SECRET_HEADER: root_secret(layout)})
        response = connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise EmulatorError(f"the embedded AWS does not say {what}: HTTP {response.status}")
        return json.loads(content)
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise EmulatorError(f"the embedded AWS does not say {what}: {said}") from None
    finally:
        connection.close()

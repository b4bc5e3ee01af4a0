"""How many changes wait, asked of the process itself, so that a write that was just answered is counted."""

import http.client
import json
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.credentials import root_secret
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.errors import EmulatorError

# Answered on loopback, to whoever knows root's secret: functions do not.
PATH = "/_ministack/replication"
SECRET_HEADER = "x-healthcare-dr-root"  # noqa: S105


@dataclass(frozen=True)
class Pending:
    """The number of changes of both kinds that wait, and how long ago the oldest of them was written."""

    pending: int = 0
    waiting_seconds: float = 0.0


def ask(layout: Layout, ports: Ports) -> Pending:
    """What waits now.

    Raises:
        EmulatorError: the process does not say.
    """
    context = ssl.create_default_context(cafile=str(layout.authority_certificate))
    connection = http.client.HTTPSConnection(urlsplit(ports.endpoint).netloc, timeout=10, context=context)
    try:
        connection.request("GET", PATH, headers={SECRET_HEADER: root_secret(layout)})
        response = connection.getresponse()
        content = response.read()
    except OSError as error:
        raise EmulatorError(f"the embedded AWS does not say what waits for replication: {error}") from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise EmulatorError(f"the embedded AWS does not say what waits for replication: HTTP {response.status}")
    return Pending(**json.loads(content))

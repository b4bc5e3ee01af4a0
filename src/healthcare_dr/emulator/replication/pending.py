"""How many changes wait, asked of the process itself, so that a write that was just answered is counted."""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlencode

from healthcare_dr.emulator import asking
from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.layout import Layout

PATH = "/_ministack/replication"
# The parameter that names a table or bucket; it may be repeated.
ONLY = "only"


@dataclass(frozen=True)
class Pending:
    """The number of changes of both kinds that wait, and how long ago the oldest of them was written."""

    pending: int = 0
    waiting_seconds: float = 0.0


def ask(layout: Layout, ports: Ports, *, only: Collection[str] = ()) -> Pending:
    """What waits now, of some tables and buckets or of all.

    Raises:
        EmulatorError: the process does not say.
    """
    path = f"{PATH}?{urlencode([(ONLY, name) for name in only])}"
    return Pending(**asking.ask(layout, ports.endpoint, path, what="what waits for replication"))

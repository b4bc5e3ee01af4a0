"""How many changes wait, asked of the process itself, so that a write that was just answered is counted."""

from dataclasses import dataclass

from healthcare_dr.emulator import asking
from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.layout import Layout

PATH = "/_ministack/replication"


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
    return Pending(**asking.ask(layout, ports.endpoint, PATH, what="what waits for replication"))

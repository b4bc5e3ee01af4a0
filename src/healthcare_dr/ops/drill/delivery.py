"""What replication has delivered, so that a write that is on its way is not taken for one that is missing."""

import math
from collections.abc import Callable
from typing import Final, Protocol

from healthcare_dr.errors import EmulatorError
from healthcare_dr.ops.ports import BreakableAws

USUAL_LAG_SECONDS: Final = 2.5
"""What a global table takes; a longer lag is one that a fault has set."""


class Delivery(Protocol):
    """What is known of replication between the regions, on the drill's clock."""

    def delivered_until(self) -> float:
        """Return the time up to which every write has been delivered; minus infinity when it cannot be asked now."""

    def pending(self) -> int | None:
        """Return how many changes wait to be delivered; None when it cannot be asked now."""

    def held_back(self) -> bool:
        """Return whether a fault stops or delays replication, so that waiting for it shows nothing."""


class EmbeddedDelivery:
    """Asks the replication queue of the embedded AWS."""

    def __init__(self, aws: BreakableAws, *, clock: Callable[[], float]) -> None:
        self._aws, self._clock = aws, clock

    def delivered_until(self) -> float:
        """Return the time up to which every write has been delivered; minus infinity when it cannot be asked now."""
        # The clock is read first: what is acknowledged during the call is not claimed to be delivered.
        now = self._clock()
        try:
            return now - self._aws.waiting_seconds()
        except EmulatorError:
            return -math.inf

    def pending(self) -> int | None:
        """Return how many changes wait to be delivered; None when it cannot be asked now."""
        try:
            return self._aws.pending()
        except EmulatorError:
            return None

    def held_back(self) -> bool:
        """Return whether a fault stops or delays replication, so that waiting for it shows nothing."""
        found = self._aws.replication()
        return not (found.tables and found.documents) or found.lag_seconds > USUAL_LAG_SECONDS

"""Wait for conditions, and give up only when nothing makes progress any more."""

from collections.abc import Callable, Hashable
from typing import Final

STALL_SECONDS: Final = 120.0
"""Without any progress for so long, more waiting shows nothing new. It is longer than any pause of the platform's own:
sweeps and alarms run once a minute."""


class StallDetector:
    """Notices when nothing makes progress for `seconds`. A state that was seen before is no progress."""

    def __init__(self, clock: Callable[[], float], seconds: float = STALL_SECONDS) -> None:
        self._clock, self._seconds = clock, seconds
        self._seen: set[Hashable] = set()
        self._since = clock()

    def note(self, state: Hashable) -> None:
        """Note what the state is now."""
        if state not in self._seen:
            self._seen.add(state)
            self._since = self._clock()

    @property
    def over(self) -> bool:
        """Return whether there was no progress for the permitted time."""
        return self._clock() - self._since >= self._seconds

"""Which HTTP APIs a region has, asked of the embedded AWS itself."""

import asyncio
import time
from collections.abc import Callable, Iterable

from botocore.exceptions import BotoCoreError, ClientError

AGAIN_SECONDS = 1.0


class KnownApis:
    """Believes that an API stays where it is, and asks `listed` for others once a second at most.

    A deleted one is no error: the embedded AWS answers for it.
    """

    def __init__(self, listed: Callable[[], Iterable[str]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._listed = listed
        self._clock = clock
        self._known: frozenset[str] = frozenset()
        self._asked: float | None = None
        self._asking = asyncio.Lock()

    async def has(self, api_id: str) -> bool:
        """Whether the region has an API; False while nobody says."""
        if api_id not in self._known:
            async with self._asking:
                if self._asked is None or self._clock() - self._asked >= AGAIN_SECONDS:
                    self._known |= await asyncio.to_thread(self._ask)
                    self._asked = self._clock()
        return api_id in self._known

    def _ask(self) -> frozenset[str]:
        try:
            return frozenset(self._listed())
        except (BotoCoreError, ClientError):
            return frozenset()

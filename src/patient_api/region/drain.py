"""Read drain flags. A region's flag is an item in the other region's table, because that region serves alone."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from patient_api.aws import DynamoDB
from patient_api.aws_errors import translated
from patient_api.contract.keys import DRAIN_PARTITION, key
from patient_api.errors import StorageFault
from patient_api.ttl_cache import TTLCache

KEEP_SECONDS: Final = 3.0


class DrainFlags:
    """The flags in the records' table."""

    def __init__(self, *, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def raised(self, region: str) -> bool:
        """Return whether the flag of `region` is set. Raises StorageFault."""
        with translated("GetItem"):
            answer = self._client.get_item(
                TableName=self._table,
                Key=key(DRAIN_PARTITION, region),
                ConsistentRead=True,
            )
        return "Item" in answer


class Drain:
    """The verdicts of the platform's own regions, a fault of the store included, each kept for a few seconds."""

    def __init__(
        self,
        *,
        raised: Callable[[str], bool],
        regions: Iterable[str],
        keep_seconds: float = KEEP_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._raised = raised
        self._verdicts = {
            region: TTLCache(evaluate=partial(self._ask, region), seconds=keep_seconds, monotonic=monotonic)
            for region in regions
        }

    def drained(self, region: str) -> bool:
        """False for a region the platform does not have. Raises StorageFault."""
        kept = self._verdicts.get(region)
        verdict = kept.get() if kept else False
        if isinstance(verdict, StorageFault):
            raise verdict
        return verdict

    def _ask(self, region: str) -> bool | StorageFault:
        try:
            return self._raised(region)
        except StorageFault as fault:
            return fault

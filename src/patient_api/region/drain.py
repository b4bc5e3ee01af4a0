"""Read drain flags. A region's flag is an item in the other region's table, because that region serves alone."""

import time
from collections.abc import Callable, Iterable
from functools import partial

from patient_api.aws import DynamoDB, translated
from patient_api.contract.functions import DRAIN_FLAG_SECONDS
from patient_api.contract.keys import DRAIN_PARTITION, key
from patient_api.errors import StorageFault
from patient_api.ttl_cache import TTLCache


class DrainFlags:
    """The drain flags of the platform's regions. Results, and faults of the table, are cached for `keep_seconds`."""

    def __init__(
        self,
        *,
        client: DynamoDB,
        table: str,
        regions: Iterable[str],
        keep_seconds: float = DRAIN_FLAG_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._table = table
        self._flags = {
            region: TTLCache(evaluate=partial(self._read, region), seconds=keep_seconds, monotonic=monotonic)
            for region in regions
        }

    def drained(self, region: str) -> bool:
        """Return whether the flag of `region` is set; False for other regions. Raises StorageFault."""
        cached = self._flags.get(region)
        drained = cached.get() if cached else False
        if isinstance(drained, StorageFault):
            raise drained
        return drained

    def _read(self, region: str) -> bool | StorageFault:
        try:
            with translated("GetItem"):
                response = self._client.get_item(
                    TableName=self._table, Key=key(DRAIN_PARTITION, region), ConsistentRead=True
                )
        except StorageFault as fault:
            return fault
        return "Item" in response

"""The capacity that a region needs to carry the load of both: throughput of the tables, and concurrency of Lambda.

`UNITS` are the figures of docs/capacity.md, divided by table and index. A test measures them on the embedded DynamoDB.

Each region's API admits `HDR_THROTTLE_RATE` requests a second. After a failover that is all that the surviving region
receives. Before it, both regions together must not receive more, or the survivor could not take over; a replica then
applies its region's own writes and the replicated ones, which are together no more either. So a table needs the units
of that many calls. Which calls they will be is unknown, so each table and index must be able to serve that many of any
one kind of call in `UNITS`: all updates, all reads or all pages. Left out are searches whose criteria match nothing,
which read up to 567 units each: at 1,000 requests a second that is 14 times the quota of a table, and a client that
sends only such searches is throttled instead.

Lambda needs as many concurrent executions as requests are in progress, and some for the functions in the background,
which share the account's quota.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from healthcare_dr.naming import Names
from patient_api.contract.keys import RECORD_INDEX, UPDATE_INDEX


@dataclass(frozen=True)
class Units:
    """Read and write units, of one call or per second."""

    read: int = 0
    write: int = 0


@dataclass(frozen=True)
class Place:
    """A table, or one of its indexes, each of which has its own throughput."""

    table: str
    index: str | None = None

    def __str__(self) -> str:
        return self.table if self.index is None else f"{self.table}/{self.index}"


RECORDS: Final = Place("records")
UPDATES: Final = Place("records", UPDATE_INDEX)
AUDIT: Final = Place("audit")
ACCESSES: Final = Place("audit", RECORD_INDEX)

UPDATE: Final = "update"
READ: Final = "read"
PAGE_OF_SEARCH: Final = "search by name, a page"
PAGE_OF_LIST: Final = "list by `_lastUpdated`, a page"
UNITS: Final[Mapping[str, Mapping[Place, Units]]] = {
    READ: {RECORDS: Units(read=1), AUDIT: Units(write=1), ACCESSES: Units(write=1)},
    UPDATE: {RECORDS: Units(write=24), UPDATES: Units(write=2), AUDIT: Units(write=2), ACCESSES: Units(write=1)},
    PAGE_OF_SEARCH: {RECORDS: Units(read=11), AUDIT: Units(write=18), ACCESSES: Units(write=9)},
    PAGE_OF_LIST: {
        RECORDS: Units(read=10), UPDATES: Units(read=4), AUDIT: Units(write=18), ACCESSES: Units(write=9),
    },
}  # fmt: skip
"""By call, as docs/capacity.md names them. A page has nine entries."""

INITIAL: Final = Units(read=12_000, write=4_000)
"""The warm throughput of a new on-demand table or index (DynamoDB Developer Guide, warm throughput)."""
READ_QUOTA: Final = "L-CF0CBE56"
WRITE_QUOTA: Final = "L-AB614373"
"""The codes of the quotas `Table-level read/write throughput limit`, which apply to a table and to each index."""
CONCURRENCY_QUOTA: Final = "L-B99A9384"
"""The code of Lambda's quota `Concurrent executions`, which all functions of an account and region share."""
BACKGROUND_EXECUTIONS: Final = 5
"""Executions beside the API's: reconciliation of two streams, the sentinel, the sweep, and one confirmation."""


@dataclass(frozen=True)
class Concurrency:
    """Concurrent executions that a region needs.

    Attributes:
        sustained: for `HDR_THROTTLE_RATE` requests a second. With less, requests and health checks are refused although
            the API admits them, until Route 53 finds the region unhealthy; both regions, if both have this quota.
        burst: for `HDR_THROTTLE_BURST` requests at once. With less, Lambda refuses a part of a burst.
    """

    sustained: int
    burst: int


def needed_concurrency(rate: int, burst: int) -> Concurrency:
    """Return the concurrent executions for the limits of a region's API.

    The duration of a request is the assumption `request_ms` of `hdr cost`. No function has reserved concurrency, so
    nothing is kept for health checks when documents take more than their share: each confirmation waits up to 25 s.
    """
    from healthcare_dr.ops.cost import load_prices  # imports this module

    sustained = math.ceil(rate * load_prices().value("request_ms") / 1000) + BACKGROUND_EXECUTIONS
    return Concurrency(sustained=sustained, burst=max(sustained, burst))


def consumed(call: str) -> Units:
    """Return what a call consumes in both tables and their indexes."""
    found = UNITS[call].values()
    return Units(read=sum(units.read for units in found), write=sum(units.write for units in found))


def needed(rate: int) -> dict[Place, Units]:
    """Return the throughput per second that each table and index must serve at once, for `rate` requests a second."""
    places = dict.fromkeys(place for call in UNITS.values() for place in call)
    return {
        place: Units(
            read=max(INITIAL.read, rate * max(call.get(place, Units()).read for call in UNITS.values())),
            write=max(INITIAL.write, rate * max(call.get(place, Units()).write for call in UNITS.values())),
        )
        for place in places
    }


def free_rate() -> int:
    """Return the highest rate of requests that new tables serve at once, without an increase."""
    calls = [units for call in UNITS.values() for units in call.values()]
    return min(INITIAL.read // max(units.read for units in calls), INITIAL.write // max(units.write for units in calls))


def named(place: Place, names: Names) -> Place:
    """Return a place of `UNITS` with the name of the environment's table."""
    return replace(place, table={"records": names.records_table, "audit": names.audit_table}[place.table])

"""Raise the warm throughput of both tables: what DynamoDB serves at once, without first scaling up.

A new on-demand table serves 4,000 write units a second and doubles at most every 30 minutes. The surviving region takes
its load at once, so the throughput is raised beforehand. Terraform's provider 5.100 has no argument for it, and the
stacks must fit that version, so a deployment makes DynamoDB's own call after it has applied them.

- One call for each table in its owning region raises the table, its replicas and its indexes.
- DynamoDB charges once for the increase, in each region. It never lowers a table's value.
- A deployment that is interrupted meanwhile is continued by the next one: it waits until no table is being updated, and
  raises what is still too low.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.capacity import READ_QUOTA, WRITE_QUOTA, Place, Units, named, needed
from healthcare_dr.ops.ports import Progress, Target

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

PATIENCE_SECONDS: Final = 1800.0
"""AWS names no duration: it depends on the values and on the size of the table."""
LONGEST_POLL_SECONDS: Final = 10.0
REPORT_SECONDS: Final = 60.0
SERVER_FAULT: Final = 500
BUSY: Final = ("CREATING", "UPDATING")
DENIED: Final = ("AccessDeniedException", "UnauthorizedOperation")
PERMISSIONS: Final = "dynamodb:DescribeTable, dynamodb:DescribeLimits and dynamodb:UpdateTable"

Warm = Mapping[tuple[str, Place], Units]
"""The throughput of each table and index, by region."""


@dataclass(frozen=True, kw_only=True)
class Increase:
    """The increase of one table or index in one region, and its price, which is charged once."""

    region: str
    place: Place
    before: Units
    after: Units
    usd: float


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The increases, and what the quota of the account leaves out.

    Attributes:
        rate: the requests per second that each region's API admits.
        quota: the highest throughput that the account allows a table or index, in the region that allows less.
        beyond_quota: the tables and indexes that need more than the quota, with what they need.
    """

    increases: tuple[Increase, ...]
    rate: int
    quota: Units
    beyond_quota: Mapping[Place, Units]

    @property
    def usd(self) -> float:
        """The price of all increases in US dollars."""
        return sum(increase.usd for increase in self.increases)


Approve = Callable[[Proposal], bool]
"""Returns whether the throughput may be raised."""


def approve_increase(proposal: Proposal) -> bool:
    """Approve the increase without confirmation."""
    del proposal
    return True


@dataclass(frozen=True, kw_only=True)
class WarmThroughput:
    """The warm throughput of an environment's tables on one target. `regions[0]` owns the tables."""

    target: Target
    names: Names
    regions: tuple[str, str]
    rate: int
    progress: Progress
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def ensure(self, approve: Approve) -> None:
        """Raise what is lower than the API's rate requires; do nothing if all is sufficient.

        Raises:
            DeploymentError: it was not approved, AWS refused it, or it did not end in time.
        """
        present = self._wait(lambda _: True, self.tables)
        wanted = {named(place, self.names): units for place, units in needed(self.rate).items()}
        self._require_places(present, wanted)
        if all(_higher(units, wanted.get(place, Units())) == units for (_, place), units in present.items()):
            return
        proposal = self._proposal(present, wanted)
        for place, units in proposal.beyond_quota.items():
            self.progress.say(
                f"{place} needs {_units(units)} a second for HDR_THROTTLE_RATE={self.rate}, but the quota is "
                f"{_units(proposal.quota)}: request {READ_QUOTA} and {WRITE_QUOTA} of DynamoDB in both regions and "
                "deploy again, or lower HDR_THROTTLE_RATE"
            )
        if not proposal.increases:
            return
        if not approve(proposal):
            raise DeploymentError(
                "not confirmed: the stacks are deployed, but the warm throughput of the tables was left as it was, so "
                "after a failover DynamoDB may throttle requests that the API admits: run `hdr deploy` again, or lower "
                "HDR_THROTTLE_RATE"
            )
        raised = {increase.place: increase.after for increase in proposal.increases}
        for table in dict.fromkeys(place.table for place in raised):
            self._raise(table, {place: units for place, units in raised.items() if place.table == table})

    @property
    def tables(self) -> tuple[str, str]:
        """The names of both tables."""
        return self.names.records_table, self.names.audit_table

    def _require_places(self, present: Warm, wanted: Mapping[Place, Units]) -> None:
        for region in self.regions:
            missing = [str(place) for place in wanted if (region, place) not in present]
            if missing:
                raise DeploymentError(
                    f"{', '.join(missing)} does not exist in {region}, so no warm throughput was raised: a replica has "
                    "the indexes of its table once they are created; wait until then, or restore what `hdr plan` shows "
                    "as missing, and run `hdr deploy` again"
                )

    def _proposal(self, present: Warm, wanted: Mapping[Place, Units]) -> Proposal:
        quota = self._quota()
        least = {
            # An index that was added by hand needs no more than it has.
            (region, place): _higher(before, _lower(wanted.get(place, Units()), quota))
            for (region, place), before in present.items()
        }
        too_low = {place for (region, place), after in least.items() if after != present[region, place]}
        # One value applies to both regions: the higher one, because no value may be lowered.
        highest = {place: _highest(least, place) for place in too_low}
        return Proposal(
            increases=tuple(
                Increase(region=region, place=place, before=before, after=highest[place],
                         usd=self._price(before, highest[place]))
                for (region, place), before in present.items()
                if place in too_low
            ),
            rate=self.rate,
            quota=quota,
            beyond_quota={place: units for place, units in wanted.items() if _lower(units, quota) != units},
        )  # fmt: skip

    def _price(self, before: Units, after: Units) -> float:
        """Return what DynamoDB charges once for an increase in one region; nothing on the embedded AWS."""
        if self.target.name != "aws":
            return 0.0
        from healthcare_dr.ops.cost import load_prices, price_of_increase  # slow to import

        return price_of_increase(before, after, load_prices())

    def _quota(self) -> Units:
        found = [self._call(region, "describe_limits") for region in self.regions]
        return Units(
            read=min(limits["TableMaxReadCapacityUnits"] for limits in found),
            write=min(limits["TableMaxWriteCapacityUnits"] for limits in found),
        )

    def _raise(self, table: str, wanted: Mapping[Place, Units]) -> None:
        request: dict[str, Any] = {"TableName": table}
        for place, units in wanted.items():
            warm = {"ReadUnitsPerSecond": units.read, "WriteUnitsPerSecond": units.write}
            if place.index is None:
                request["WarmThroughput"] = warm
            else:
                change = {"Update": {"IndexName": place.index, "WarmThroughput": warm}}
                request.setdefault("GlobalSecondaryIndexUpdates", []).append(change)
        self.progress.begin(table, "raising warm throughput")
        self._call(self.regions[0], "update_table", **request)
        self._wait(
            lambda warm: all(
                _higher(units, warm.get((region, place), Units())) == warm.get((region, place))
                for region in self.regions
                for place, units in wanted.items()
            ),
            (table,),
            in_progress=True,
        )
        raised = ", ".join(f"{place}: {_units(units)}" for place, units in wanted.items())
        self.progress.end(table, f"warm throughput raised ({self.target.name}): {raised} a second")

    def _wait(self, condition: Callable[[Warm], bool], tables: Sequence[str], *, in_progress: bool = False) -> Warm:
        """Return the throughput once no table is being updated and the condition holds.

        While an increase is in progress, a region that does not respond is read again.
        """
        began = reported = self.clock()
        while True:
            described: dict[tuple[str, str], Any] = {}
            silent: _UnreachableError | None = None
            try:
                for region in self.regions:
                    for table in tables:
                        found = self._call(region, "describe_table", in_progress=in_progress, TableName=table)["Table"]
                        described[region, table] = found
            except _UnreachableError as error:
                if not in_progress or self.clock() - began > PATIENCE_SECONDS:
                    raise
                silent = error
            unsettled = sorted({name for (_, name), table in described.items() if not _settled(table)})
            in_progress = in_progress or bool(unsettled)
            if not unsettled and silent is None:
                warm = {
                    (region, place): units
                    for (region, _), table in described.items()
                    for place, units in warm_throughput(table).items()
                }
                if condition(warm):
                    return warm
            elapsed = self.clock() - began
            waiting = ", ".join(unsettled or tables)
            if elapsed > PATIENCE_SECONDS:
                raise DeploymentError(
                    f"{waiting}: the warm throughput is still being raised after {elapsed:.0f} s; the stacks are "
                    "deployed: run `hdr deploy` later, which continues"
                )
            if self.clock() - reported > REPORT_SECONDS:
                reported = self.clock()
                reason = f"{silent.region} does not respond" if silent else "DynamoDB is still raising it"
                self.progress.say(f"{waiting}: waiting for the warm throughput, {reason} ({elapsed:.0f} s)")
            # The load of polling stays small, and a short update ends soon.
            self.pause(min(LONGEST_POLL_SECONDS, 0.05 + elapsed / 20))

    def _call(self, region: str, operation: str, *, in_progress: bool = False, **request: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        if region not in self._clients:
            self._clients[region] = self.target.client("dynamodb", region)
        try:
            response: dict[str, Any] = getattr(self._clients[region], operation)(**request)
        except ClientError as error:
            what = request.get("TableName", "the quotas")
            if int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= SERVER_FAULT:
                raise _UnreachableError(region, what, error, in_progress=in_progress) from error
            raise _refused(region, what, error, in_progress=in_progress) from error
        except BotoCoreError as error:
            what = request.get("TableName", "the tables")
            raise _UnreachableError(region, what, error, in_progress=in_progress) from error
        return response


class _UnreachableError(DeploymentError):
    """A region did not respond."""

    def __init__(self, region: str, what: str, error: Exception, *, in_progress: bool) -> None:
        self.region = region
        super().__init__(
            f"DynamoDB in {region} cannot be reached; {_outcome(what, in_progress=in_progress)}; the stacks are "
            f"deployed: run `hdr deploy` again once the region responds ({' '.join(str(error).split())})"
        )


def warm_throughput(table: Mapping[str, Any]) -> dict[Place, Units]:
    """Return the warm throughput of a table and its indexes, from a response of DescribeTable."""
    name = table["TableName"]
    found = {Place(name): _warm(table)}
    for index in table.get("GlobalSecondaryIndexes", ()):
        found[Place(name, index["IndexName"])] = _warm(index)
    return found


def _warm(described: Mapping[str, Any]) -> Units:
    warm = described.get("WarmThroughput") or {}
    return Units(read=int(warm.get("ReadUnitsPerSecond", 0)), write=int(warm.get("WriteUnitsPerSecond", 0)))


def _settled(table: Mapping[str, Any]) -> bool:
    parts = (table, *table.get("GlobalSecondaryIndexes", ()))
    states = [table["TableStatus"], *((part.get("WarmThroughput") or {}).get("Status") for part in parts)]
    return not any(state in BUSY for state in states)


def _higher(one: Units, other: Units) -> Units:
    return Units(read=max(one.read, other.read), write=max(one.write, other.write))


def _lower(one: Units, other: Units) -> Units:
    return Units(read=min(one.read, other.read), write=min(one.write, other.write))


def _highest(warm: Warm, place: Place) -> Units:
    found = [units for (_, where), units in warm.items() if where == place]
    return Units(read=max(units.read for units in found), write=max(units.write for units in found))


def _units(units: Units) -> str:
    return f"{units.read:,} read and {units.write:,} write units"


def _outcome(what: str, *, in_progress: bool) -> str:
    """Return what is known of the increase after a failed request."""
    return f"the increase for {what} is in progress" if in_progress else "the warm throughput was not raised"


def _refused(region: str, what: str, error: "ClientError", *, in_progress: bool) -> DeploymentError:
    code = error.response.get("Error", {}).get("Code", "")
    hint = (
        f"the credentials need {PERMISSIONS}; run `hdr deploy` again"
        if code in DENIED
        else "correct it and run `hdr deploy` again"
    )
    return DeploymentError(
        f"AWS refuses dynamodb:{error.operation_name} for {what} in {region}; "
        f"{_outcome(what, in_progress=in_progress)}; the stacks are deployed: {hint} ({' '.join(str(error).split())})"
    )

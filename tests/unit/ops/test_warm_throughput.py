"""Raise the warm throughput of the tables: requests, waiting, prices, refusals and continuation."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.capacity import Place, Units
from healthcare_dr.ops.ports import Target
from healthcare_dr.ops.warm_throughput import Proposal, WarmThroughput, approve_increase
from unit.ops.fakes import RecordingProgress

EAST, WEST = REGIONS = ("us-east-1", "us-west-2")
RECORDS, UPDATES = Place("patient_records-dev"), Place("patient_records-dev", "by-update")
AUDIT, ACCESSES = Place("audit_logs-dev"), Place("audit_logs-dev", "by-record")


@dataclass
class Tables:
    """Both tables in both regions, on AWS. An update is complete after `reads` descriptions in each region."""

    name: str = "aws"
    quota: int = 40_000
    reads: int = 2
    failure: Callable[[str, str], Exception | None] = lambda _region, _operation: None
    warm: dict[tuple[str, Place], list[int]] = field(
        default_factory=lambda: {
            (region, place): [12_000, 4_000] for region in REGIONS for place in (RECORDS, UPDATES, AUDIT, ACCESSES)
        }
    )
    busy: dict[tuple[str, str], int] = field(default_factory=dict)
    pending: dict[str, dict[Place, list[int]]] = field(default_factory=dict)
    updates: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def client(self, service: str, region: str) -> Any:
        assert service == "dynamodb"
        return Client(self, region)

    def begin(self, table: str, values: dict[Place, list[int]]) -> None:
        self.pending[table] = values
        self.busy |= {(region, table): self.reads for region in REGIONS}

    def describe(self, region: str, table: str) -> dict[str, Any]:
        left = self.busy.get((region, table), 0)
        self.busy[region, table] = max(0, left - 1)
        if left == 1:
            for place, units in self.pending[table].items():
                self.warm[region, place] = units
        status = "UPDATING" if left > 1 else "ACTIVE"

        def part(place: Place) -> dict[str, Any]:
            read, write = self.warm[region, place]
            return {"WarmThroughput": {"ReadUnitsPerSecond": read, "WriteUnitsPerSecond": write, "Status": status}}

        places = [place for where, place in self.warm if where == region and place.table == table]
        indexes = [{"IndexName": place.index, **part(place)} for place in places if place.index]
        # On AWS the table stays active, and only its throughput is being updated.
        return {"TableName": table, "TableStatus": "ACTIVE", "GlobalSecondaryIndexes": indexes, **part(Place(table))}


@dataclass
class Client:
    tables: Tables
    region: str

    def _fail(self, operation: str) -> None:
        if (error := self.tables.failure(self.region, operation)) is not None:
            raise error

    def describe_limits(self) -> dict[str, int]:
        self._fail("describe_limits")
        return {"TableMaxReadCapacityUnits": self.tables.quota, "TableMaxWriteCapacityUnits": self.tables.quota}

    def describe_table(self, *, TableName: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        self._fail("describe_table")
        return {"Table": self.tables.describe(self.region, TableName)}

    def update_table(self, **request: Any) -> None:
        self._fail("update_table")
        table = request["TableName"]
        assert not any(self.tables.busy.get((region, table)) for region in REGIONS), "the table is being updated"
        self.tables.updates.append((self.region, deepcopy(request)))
        values = {}
        if "WarmThroughput" in request:
            values[Place(table)] = request["WarmThroughput"]
        for change in request.get("GlobalSecondaryIndexUpdates", ()):
            values[Place(table, change["Update"]["IndexName"])] = change["Update"]["WarmThroughput"]
        for place, units in values.items():
            present = [self.tables.warm[region, place] for region in REGIONS]
            wanted = [units["ReadUnitsPerSecond"], units["WriteUnitsPerSecond"]]
            assert all(new >= old for each in present for new, old in zip(wanted, each, strict=True)), "lowered"
            values[place] = wanted
        self.tables.begin(table, values)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def throughput(tables: Tables, progress: RecordingProgress, *, rate: int = 1000) -> WarmThroughput:
    clock = Clock()
    return WarmThroughput(
        target=cast("Target", tables), names=Names("dev"), regions=REGIONS, rate=rate, progress=progress,
        pause=clock.pause, clock=clock,
    )  # fmt: skip


def refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "m"}}, operation)


def recording(shown: list[Proposal]) -> Callable[[Proposal], bool]:
    """Return a function that records the proposal and approves it."""

    def approve(proposal: Proposal) -> bool:
        shown.append(proposal)
        return True

    return approve


def never(proposal: Proposal) -> bool:
    raise AssertionError(proposal)


@pytest.mark.trap(33)
def test_tables_and_indexes_are_raised_in_both_regions_by_one_call_each(progress: RecordingProgress) -> None:
    tables = Tables()
    throughput(tables, progress).ensure(approve_increase)
    expected = {RECORDS: 24_000, UPDATES: 4_000, AUDIT: 18_000, ACCESSES: 9_000}
    assert tables.warm == {(region, place): [12_000, write] for region in REGIONS for place, write in expected.items()}
    assert [(region, request["TableName"]) for region, request in tables.updates] == [
        (EAST, "patient_records-dev"),
        (EAST, "audit_logs-dev"),
    ]
    assert progress.ended[0] == (
        "patient_records-dev",
        "warm throughput raised (aws): patient_records-dev: 12,000 read and 24,000 write units a second",
    )


def test_second_deployment_raises_nothing_and_requests_no_approval(progress: RecordingProgress) -> None:
    tables = Tables()
    throughput(tables, progress).ensure(approve_increase)
    tables.updates.clear()
    throughput(tables, progress).ensure(never)
    assert tables.updates == []


def test_rate_that_new_tables_serve_needs_no_increase(progress: RecordingProgress) -> None:
    throughput(Tables(), progress, rate=166).ensure(never)
    with pytest.raises(AssertionError):
        throughput(Tables(), progress, rate=167).ensure(never)


def test_proposal_contains_each_increase_with_its_price(progress: RecordingProgress) -> None:
    shown: list[Proposal] = []
    throughput(Tables(), progress).ensure(recording(shown))
    (proposal,) = shown
    assert {(each.region, each.place, each.before, each.after) for each in proposal.increases} == {
        (region, place, Units(12_000, 4_000), Units(12_000, write))
        for region in REGIONS
        for place, write in ((RECORDS, 24_000), (AUDIT, 18_000), (ACCESSES, 9_000))
    }
    assert proposal.usd == pytest.approx(2 * (20_000 + 14_000 + 5_000) * 0.00065)
    assert proposal.beyond_quota == {}


def test_region_that_has_scaled_up_already_is_not_lowered(progress: RecordingProgress) -> None:
    tables = Tables()
    tables.warm[WEST, RECORDS] = [15_000, 30_000]
    tables.warm[EAST, AUDIT] = [12_000, 20_000]
    shown: list[Proposal] = []
    throughput(tables, progress).ensure(recording(shown))
    assert tables.warm[EAST, RECORDS] == tables.warm[WEST, RECORDS] == [15_000, 30_000]
    assert tables.warm[WEST, AUDIT] == tables.warm[EAST, AUDIT] == [12_000, 20_000]
    prices = {(each.region, each.place): each.usd for each in shown[0].increases}
    assert prices[WEST, RECORDS] == prices[EAST, AUDIT] == 0
    assert prices[EAST, RECORDS] == pytest.approx(26_000 * 0.00065 + 3_000 * 0.00013)


def test_embedded_aws_charges_nothing(progress: RecordingProgress) -> None:
    shown: list[Proposal] = []
    throughput(Tables(name="embedded"), progress).ensure(recording(shown))
    assert shown[0].usd == 0


def test_quota_limits_the_increase_and_is_reported(progress: RecordingProgress) -> None:
    tables = Tables(quota=20_000)
    throughput(tables, progress).ensure(approve_increase)
    assert tables.warm[WEST, RECORDS] == [12_000, 20_000]
    (said,) = [text for text in progress.said if "quota" in text]
    assert said.startswith("patient_records-dev needs 12,000 read and 24,000 write units a second")
    assert "L-AB614373" in said
    tables.updates.clear()
    throughput(tables, progress).ensure(never)
    tables.quota = 40_000
    throughput(tables, progress).ensure(approve_increase)
    assert tables.warm[WEST, RECORDS] == [12_000, 24_000]


def test_refused_increase_leaves_the_tables_as_they_were(progress: RecordingProgress) -> None:
    tables = Tables()
    with pytest.raises(DeploymentError, match="not confirmed: the stacks are deployed, but") as e:
        throughput(tables, progress).ensure(lambda _: False)
    assert "\n" not in str(e.value)
    assert tables.updates == []


def test_interrupted_deployment_is_continued_after_the_update_in_progress(progress: RecordingProgress) -> None:
    tables = Tables(reads=5)
    tables.begin("patient_records-dev", {RECORDS: [12_000, 24_000]})
    throughput(tables, progress).ensure(approve_increase)
    assert [request["TableName"] for _, request in tables.updates] == ["audit_logs-dev"]
    assert tables.warm[WEST, RECORDS] == [12_000, 24_000]


def test_update_that_does_not_end_is_an_error_after_half_an_hour(progress: RecordingProgress) -> None:
    tables = Tables(reads=10_000_000)
    with pytest.raises(
        DeploymentError, match="patient_records-dev: the warm throughput is still being raised after 18"
    ):
        throughput(tables, progress).ensure(approve_increase)
    assert 20 < len([said for said in progress.said if "still raising it" in said]) <= 30


@pytest.mark.parametrize(
    ("region", "operation", "error", "line"),
    [
        (EAST, "update_table", refusal("AccessDeniedException", "UpdateTable"),
         r"AWS refuses dynamodb:UpdateTable for patient_records-dev in us-east-1; .* the credentials need "),
        (WEST, "describe_limits", refusal("AccessDeniedException", "DescribeLimits"),
         r"AWS refuses dynamodb:DescribeLimits for the quotas in us-west-2; .* the credentials need "),
        (EAST, "update_table", refusal("LimitExceededException", "UpdateTable"), "run `hdr deploy` again"),
        (WEST, "describe_table", EndpointConnectionError(endpoint_url="https://dynamodb"),
         "DynamoDB in us-west-2 cannot be reached; the warm throughput was not raised; the stacks are deployed"),
    ],
)  # fmt: skip
def test_failure_prints_one_line(
    progress: RecordingProgress, region: str, operation: str, error: Exception, line: str
) -> None:
    tables = Tables(failure=lambda where, what: error if (where, what) == (region, operation) else None)
    with pytest.raises(DeploymentError, match=line) as e:
        throughput(tables, progress).ensure(approve_increase)
    assert "\n" not in str(e.value)


def test_quotas_are_read_only_if_something_is_raised(progress: RecordingProgress) -> None:
    tables = Tables(failure=lambda _, operation: refused_limits() if operation == "describe_limits" else None)
    throughput(tables, progress, rate=166).ensure(never)
    with pytest.raises(DeploymentError, match="DescribeLimits"):
        throughput(tables, progress, rate=167).ensure(approve_increase)


def refused_limits() -> ClientError:
    return refusal("AccessDeniedException", "DescribeLimits")


@pytest.mark.parametrize("regions", [[WEST], [EAST], [EAST, WEST]])
@pytest.mark.parametrize("place", [UPDATES, ACCESSES])
def test_missing_index_is_an_error_before_anything_is_raised(
    progress: RecordingProgress, regions: list[str], place: Place
) -> None:
    tables = Tables()
    for region in regions:
        del tables.warm[region, place]
    with pytest.raises(DeploymentError, match=f"^{place} does not exist in {regions[0]}, so no warm ") as e:
        throughput(tables, progress).ensure(never)
    assert "\n" not in str(e.value)
    assert tables.updates == []


def failing_after_the_update(tables: Tables, error: Exception, *, times: float = float("inf")) -> None:
    """Let the descriptions in us-west-2 fail `times` times after an update was accepted."""
    failed = 0

    def failure(region: str, operation: str) -> Exception | None:
        nonlocal failed
        if not tables.updates or (region, operation) != (WEST, "describe_table") or failed >= times:
            return None
        failed += 1
        return error

    tables.failure = failure


UNREACHABLE = EndpointConnectionError(endpoint_url="https://dynamodb")
SERVER_FAULT = ClientError(
    {
        "Error": {"Code": "InternalServerError", "Message": "m"},
        "ResponseMetadata": cast("Any", {"HTTPStatusCode": 500}),
    },
    "DescribeTable",
)


@pytest.mark.parametrize("error", [UNREACHABLE, SERVER_FAULT], ids=["connection", "server"])
def test_region_that_does_not_respond_for_a_while_is_read_again(progress: RecordingProgress, error: Exception) -> None:
    tables = Tables()
    failing_after_the_update(tables, error, times=100)
    throughput(tables, progress).ensure(approve_increase)
    assert tables.warm[WEST, RECORDS] == [12_000, 24_000]
    assert any("us-west-2 does not respond" in said for said in progress.said)


@pytest.mark.parametrize("error", [UNREACHABLE, refusal("AccessDeniedException", "DescribeTable")])
def test_failure_after_the_update_was_accepted_reports_an_increase_in_progress(
    progress: RecordingProgress, error: Exception
) -> None:
    tables = Tables()
    failing_after_the_update(tables, error)
    with pytest.raises(
        DeploymentError, match=r"the increase for patient_records-dev is in progress; .*run `hdr deploy` again"
    ) as e:
        throughput(tables, progress).ensure(approve_increase)
    assert "not raised" not in str(e.value)
    assert "\n" not in str(e.value)


def test_failure_during_an_increase_of_an_earlier_deployment_does_not_deny_it(progress: RecordingProgress) -> None:
    tables = Tables(reads=5)
    tables.begin("patient_records-dev", {RECORDS: [12_000, 24_000]})
    described = 0

    def failure(region: str, operation: str) -> Exception | None:
        nonlocal described
        described += (region, operation) == (WEST, "describe_table")
        return refusal("AccessDeniedException", "DescribeTable") if described > 2 else None

    tables.failure = failure
    with pytest.raises(DeploymentError, match="the increase for patient_records-dev is in progress"):
        throughput(tables, progress).ensure(never)

"""Tests of the features of DynamoDB that the functions use, with and without patches."""

import copy
import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from ministack.services import dynamodb

from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.patches import dynamodb as patches
from unit.emulator.aws import EAST, WEST, Aws, allow, error_code, eventually, is_denied, only_when_patched
from unit.emulator.replicas import get, global_table, item, put


@pytest.mark.parametrize("consistent", [False, True])
@only_when_patched
def test_reads_consume_capacity_by_size(aws: Aws, consistent: bool) -> bool:
    table, db = global_table(aws), aws("dynamodb")
    put(aws, EAST, table, "a", value="x" * 5000)
    put(aws, EAST, table, "b", value="x" * 5000)
    options = {"ReturnConsumedCapacity": "TOTAL", "ConsistentRead": consistent}
    one = db.get_item(TableName=table, Key=item("a"), **options)
    condition = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "p"}}}
    both = db.query(TableName=table, **condition, **options)
    costs = [answer["ConsumedCapacity"]["CapacityUnits"] for answer in (one, both)]
    # 5 kB are two blocks of 4 KiB, and 10 kB are three.
    return costs == ([2.0, 3.0] if consistent else [1.0, 1.5])


@only_when_patched
def test_batch_read_returns_consumed_capacity(aws: Aws) -> bool:
    table = global_table(aws)
    put(aws, EAST, table, "a", value="x" * 5000)
    request = {table: {"Keys": [item("a"), item("missing")]}}
    answer = aws("dynamodb").batch_get_item(RequestItems=request, ReturnConsumedCapacity="TOTAL")
    return bool(answer.get("ConsumedCapacity") == [{"TableName": table, "CapacityUnits": 1.5}])


def test_transaction_consumes_twice_the_capacity_of_writes(patched: Aws) -> None:
    table, db = global_table(patched), patched("dynamodb")
    index = {"shard": "s", "updated": "u"}
    first, second = ({"TableName": table, "Item": item(name, value="x" * 2500, **index)} for name in ("a", "b"))
    alone = db.put_item(**first, ReturnConsumedCapacity="TOTAL")["ConsumedCapacity"]
    # Three units for the item and one for its entry in the index.
    assert alone["CapacityUnits"] == 4.0
    (together,) = db.transact_write_items(TransactItems=[{"Put": second}], ReturnConsumedCapacity="TOTAL")[
        "ConsumedCapacity"
    ]
    assert together["CapacityUnits"] == 7.0


@pytest.mark.parametrize("index", [None, "by-update"])
def test_query_pages_have_no_gaps(patched: Aws, index: str | None) -> None:
    table, db = global_table(patched), patched("dynamodb")
    for number in range(7):
        put(patched, EAST, table, f"{number}", shard="s", updated=f"u{number}")
    put(patched, EAST, table, "not indexed")
    key, value = ("shard", "s") if index else ("pk", "p")
    request = {
        "TableName": table,
        "Limit": 3,
        "ScanIndexForward": False,
        "KeyConditionExpression": "#key = :v",
        "ExpressionAttributeNames": {"#key": key},
        "ExpressionAttributeValues": {":v": {"S": value}},
        **({"IndexName": index} if index else {}),
    }
    pages = []
    while True:
        page = db.query(**request)
        pages.append([entry["sk"]["S"] for entry in page["Items"]])
        if "LastEvaluatedKey" not in page:
            break
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    sparse = [["6", "5", "4"], ["3", "2", "1"], ["0"]]
    assert pages == (sparse if index else [["not indexed", "6", "5"], ["4", "3", "2"], ["1", "0"]])


def test_transaction_of_100_items_reports_the_failed_item(patched: Aws) -> None:
    table, db = global_table(patched), patched("dynamodb")
    puts = [{"Put": {"TableName": table, "Item": item(f"{number}")}} for number in range(101)]
    db.transact_write_items(TransactItems=puts[:100])
    with pytest.raises(ClientError, match="ValidationException"):
        db.transact_write_items(TransactItems=puts)
    puts[1]["Put"] |= {
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    with pytest.raises(db.exceptions.TransactionCanceledException) as cancelled:
        db.transact_write_items(TransactItems=puts[:2])
    none, failed = cancelled.value.response["CancellationReasons"]
    assert (none["Code"], failed["Code"], failed["Item"]) == ("None", "ConditionalCheckFailed", item("1"))


def test_transaction_is_idempotent_by_its_token(patched: Aws) -> None:
    table, db = global_table(patched), patched("dynamodb")
    write = {"TableName": table, "Item": item("a"), "ConditionExpression": "attribute_not_exists(pk)"}
    for _ in range(2):
        db.transact_write_items(TransactItems=[{"Put": write}], ClientRequestToken="token")
    other = {"TableName": table, "Item": item("b")}
    with pytest.raises(db.exceptions.IdempotentParameterMismatchException):
        db.transact_write_items(TransactItems=[{"Put": other}], ClientRequestToken="token")


@pytest.mark.parametrize(("operation", "member"), [("get_item", "Key"), ("put_item", "Item")])
@only_when_patched
def test_policies_see_leading_keys(aws: Aws, operation: str, member: str) -> bool:
    table, heartbeat = aws.table(keys=("pk", "sk")), "$platform#heartbeat"
    condition = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [heartbeat]}}
    role = aws.role(table, allow("dynamodb:GetItem", "dynamodb:PutItem", Condition=condition))
    call = getattr(aws("dynamodb", credentials=aws.session(role)), operation)

    def denied(partition: str) -> bool:
        return is_denied(call, TableName=table, **{member: {"pk": {"S": partition}, "sk": {"S": EAST}}})

    assert not denied(heartbeat)
    return denied("north-clinic#Patient#1")


@pytest.mark.trap(5)
@only_when_patched
def test_replica_reports_its_own_key(aws: Aws) -> bool:
    keys = {region: aws("kms", region).create_key()["KeyMetadata"]["Arn"] for region in (EAST, WEST)}
    table = aws.table(
        SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": keys[EAST]},
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    create = {"Create": {"RegionName": WEST, "KMSMasterKeyId": keys[WEST]}}
    aws("dynamodb").update_table(TableName=table, ReplicaUpdates=[create])
    primary, replica = (aws("dynamodb", region).describe_table(TableName=table)["Table"] for region in (EAST, WEST))
    return bool(
        primary["SSEDescription"]["KMSMasterKeyArn"] == replica["Replicas"][0].get("KMSMasterKeyId") == keys[EAST]
        and replica["SSEDescription"]["KMSMasterKeyArn"] == primary["Replicas"][0].get("KMSMasterKeyId") == keys[WEST]
    )


def recoverable(aws: Aws, region: str) -> str:
    """A table with point-in-time recovery in a region."""
    table = global_table(aws)
    aws("dynamodb", region).update_continuous_backups(
        TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    return table


def a_moment() -> datetime:
    """Return a whole second that separates earlier changes from later ones."""
    moment = int(time.time()) + 2
    time.sleep(moment + 0.1 - time.time())
    return datetime.fromtimestamp(moment, UTC)


def restore(aws: Aws, table: str, moment: datetime, region: str = EAST) -> str:
    """Restore a table to a point in time, and return the name of the new one."""
    name = uuid4().hex
    aws("dynamodb", region).restore_table_to_point_in_time(
        SourceTableName=table, TargetTableName=name, RestoreDateTime=moment
    )
    return name


@pytest.mark.parametrize("region", [EAST, WEST])
@only_when_patched
def test_restore_returns_items_at_the_restore_time(aws: Aws, region: str) -> bool:
    table, db = recoverable(aws, region), aws("dynamodb", region)
    put(aws, region, table, "changed", value="right", shard="s", updated="1")
    put(aws, region, table, "removed", value="right", shard="s", updated="2")
    moment = a_moment()
    put(aws, region, table, "changed", value="wrong", shard="s", updated="3")
    put(aws, region, table, "changed", value="worse", shard="s", updated="3")
    put(aws, region, table, "added", value="wrong", shard="s", updated="4")
    db.delete_item(TableName=table, Key=item("removed"))
    name = restore(aws, table, moment, region)
    held = {sort: (get(aws, region, name, sort) or {}).get("value") for sort in ("changed", "removed", "added")}
    listed = db.query(
        TableName=name,
        IndexName="by-update",
        KeyConditionExpression="#shard = :s",
        ExpressionAttributeNames={"#shard": "shard"},
        ExpressionAttributeValues={":s": {"S": "s"}},
    )["Items"]
    assert get(aws, region, table, "changed") == {"value": "worse", "shard": "s", "updated": "3"}
    return held == {"changed": "right", "removed": "right", "added": None} and [
        entry["updated"]["S"] for entry in listed
    ] == ["1", "2"]


@only_when_patched
def test_restore_time_before_table_creation_is_rejected(aws: Aws) -> bool:
    early = datetime(2020, 1, 1, tzinfo=UTC)
    return error_code(restore, aws=aws, table=recoverable(aws, EAST), moment=early) == "InvalidRestoreTimeException"


@only_when_patched
def test_table_without_point_in_time_recovery_cannot_be_restored(aws: Aws) -> bool:
    code = error_code(restore, aws=aws, table=global_table(aws), moment=datetime.now(UTC))
    return code == "PointInTimeRecoveryUnavailableException"


@only_when_patched
def test_describe_reports_earliest_restorable_time(aws: Aws) -> bool:
    table = recoverable(aws, EAST)

    def covers_a_period() -> bool:
        described = aws("dynamodb").describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
        recovery = described["PointInTimeRecoveryDescription"]
        return bool(recovery["EarliestRestorableDateTime"] < recovery["LatestRestorableDateTime"])

    # Without the patch both times are the same at any time.
    return bool(eventually(covers_a_period, within=30 if aws.emulator.patched else 3))


@pytest.mark.requirement("C4")
@only_when_patched
def test_restored_table_uses_the_requested_key(aws: Aws) -> bool:
    db, key = aws("dynamodb"), aws("kms").create_key()["KeyMetadata"]["Arn"]
    name = uuid4().hex
    answer = db.restore_table_to_point_in_time(
        SourceTableName=recoverable(aws, EAST),
        TargetTableName=name,
        UseLatestRestorableTime=True,
        SSESpecificationOverride={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
    )
    described = (answer["TableDescription"], db.describe_table(TableName=name)["Table"])
    return all(table.get("SSEDescription", {}).get("KMSMasterKeyArn") == key for table in described)


@pytest.mark.usefixtures("restored")
def test_cached_expression_is_evaluated_like_the_first_time() -> None:
    good = "attribute_not_exists(pk) AND #a = :a"
    values, names = {":a": {"S": "1"}}, {"#a": "a"}
    patches.cache_parsed_expressions()
    for _ in range(2):
        assert dynamodb._evaluate_condition(good, {"a": {"S": "1"}}, values, names)
        assert not dynamodb._evaluate_condition(good, {"a": {"S": "2"}}, values, names)
        with pytest.raises(ValueError, match="redundant parentheses"):
            dynamodb._evaluate_condition(f"(({good}))", {}, values, names)
        with pytest.raises(ValueError, match="Syntax error"):
            dynamodb._evaluate_condition("#a = = :a", {}, values, names)
        with pytest.raises(ValueError, match="reserved keyword"):
            dynamodb._evaluate_condition("name = :a", {}, values, names)
    taken = dynamodb._tokenize(good)
    taken.clear()
    assert dynamodb._tokenize(good)


@pytest.mark.usefixtures("restored")
def test_copies_share_no_mutable_parts() -> None:
    patches.copy_items_without_memo()
    value = {"M": {"list": {"L": [{"S": "a"}, {"B": b"b"}, {"BOOL": True}, {"SS": ["c"]}]}}, "other": {1, 2}}
    copied = dynamodb.copy.deepcopy(value)
    assert copied == value == copy.deepcopy(value)
    copied["M"]["list"]["L"][2]["BOOL"] = False
    copied["M"]["list"]["L"][3]["SS"].append("d")
    copied["other"].add(3)
    assert value["M"]["list"]["L"][2:] == [{"BOOL": True}, {"SS": ["c"]}]  # type: ignore[index]
    assert value["other"] == {1, 2}


@pytest.mark.usefixtures("restored")
def test_equal_short_strings_of_two_requests_are_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "MOST_SHARED", 2)
    long = "x" * (patches.LONGEST_SHARED + 1)
    item = {"pk": {"S": "a"}, "same": {"S": "a"}, "n": {"N": "1"}, "long": {"S": long}, "list": {"L": [{"S": "b"}]}}
    text = json.dumps({"TableName": "S", "Item": item, "S": 1})
    patches.share_equal_strings()
    requests = dynamodb.json
    first, second = (requests.loads(each) for each in (text, text.encode()))
    assert first == second == json.loads(text)
    assert first["Item"]["pk"] is first["Item"]["same"] is second["Item"]["pk"]
    assert first["Item"]["list"]["L"][0] is second["Item"]["list"]["L"][0]
    # ministack alters numbers, and long strings are not shared.
    assert all(first["Item"][name] is not second["Item"][name] for name in ("n", "long"))
    # The number of shared values is limited.
    assert requests.loads('[{"S": "a"}, {"S": "c"}, {"S": "d"}]') == [{"S": "a"}, {"S": "c"}, {"S": "d"}]
    assert requests.loads('{"S": "a"}') is not first["Item"]["pk"]
    assert [requests.loads('{"S": 1}'), requests.loads("{}")] == [{"S": 1}, {}]


def test_update_does_not_change_the_replica_or_stream_images(patched: Aws, replicating: Emulator) -> None:
    table = global_table(patched)
    put(patched, EAST, table, "a", value="1")
    assert eventually(lambda: get(patched, WEST, table, "a"))
    replicating.set_replication(tables=False)
    patched("dynamodb", WEST).update_item(
        TableName=table,
        Key=item("a"),
        UpdateExpression="SET #v = :v",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":v": {"S": "2"}},
    )
    assert [get(patched, region, table, "a") for region in (EAST, WEST)] == [{"value": "1"}, {"value": "2"}]


def test_write_with_failed_condition_is_rejected(patched: Aws) -> None:
    table = global_table(patched)
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        patched("dynamodb").put_item(TableName=table, Item=item("a"), ConditionExpression="attribute_exists(pk)")


def described(aws: Aws, region: str, table: str) -> dict[str, Any]:
    """Return the description of a table once no update is in progress."""
    db = aws("dynamodb", region)
    assert eventually(lambda: db.describe_table(TableName=table)["Table"]["TableStatus"] == "ACTIVE")
    return dict(db.describe_table(TableName=table)["Table"])


def warm(read: int, write: int) -> dict[str, int]:
    return {"ReadUnitsPerSecond": read, "WriteUnitsPerSecond": write}


def raised(aws: Aws, table: str, units: dict[str, int], *, index: dict[str, int] | None = None) -> Any:
    changes = [{"Update": {"IndexName": "by-update", "WarmThroughput": index}}] if index else []
    return aws("dynamodb").update_table(
        TableName=table,
        WarmThroughput=units,
        **({"GlobalSecondaryIndexUpdates": changes} if changes else {}),
    )["TableDescription"]


@only_when_patched
def test_new_table_and_its_index_report_initial_throughput(aws: Aws) -> bool:
    table = global_table(aws)
    parts = [
        part
        for region in (EAST, WEST)
        for found in [described(aws, region, table)]
        for part in (found, *found["GlobalSecondaryIndexes"], *found["Replicas"])
    ]
    return [part.get("WarmThroughput") for part in parts] == [{**warm(12_000, 4_000), "Status": "ACTIVE"}] * 6


@only_when_patched
def test_warm_throughput_is_raised_in_all_replicas_after_a_while(aws: Aws) -> bool:
    table = global_table(aws)
    answer = raised(aws, table, warm(12_000, 22_000), index=warm(13_000, 4_000))
    parts = []
    for region in (EAST, WEST):
        found = described(aws, region, table)
        (replica,), (index,) = found["Replicas"], found["GlobalSecondaryIndexes"]
        parts.append([found, index, replica, *replica.get("GlobalSecondaryIndexes", [])])
    expected = [{**units, "Status": "ACTIVE"} for units in (warm(12_000, 22_000), warm(13_000, 4_000))]
    return bool(
        answer["TableStatus"] == answer["WarmThroughput"]["Status"] == "UPDATING"
        and [[part.get("WarmThroughput") for part in region] for region in parts] == [expected * 2] * 2
    )


@pytest.mark.parametrize(
    ("units", "index", "code"),
    [
        (warm(12_000, 3_999), None, "ValidationException"),
        (warm(11_999, 4_000), None, "ValidationException"),
        (warm(12_000, 5_000), warm(12_000, 3_999), "ValidationException"),
        (warm(12_000, 40_001), None, "LimitExceededException"),
    ],
)
@only_when_patched
def test_lower_throughput_and_one_beyond_the_quota_are_rejected(
    aws: Aws, units: dict[str, int], index: dict[str, int] | None, code: str
) -> bool:
    table = global_table(aws)
    refused = error_code(raised, aws=aws, table=table, units=units, index=index) == code
    return refused and described(aws, EAST, table)["WarmThroughput"]["WriteUnitsPerSecond"] == 4_000


@only_when_patched
def test_throughput_is_not_changed_during_an_update(aws: Aws) -> bool:
    table = global_table(aws)
    raised(aws, table, warm(12_000, 5_000))
    # The second request arrives during the first update, or on a busy machine after it, and is repeated then.
    for units in range(6_000, 40_000, 1_000):
        if error_code(raised, aws=aws, table=table, units=warm(12_000, units)) == "ResourceInUseException":
            return True
    return False

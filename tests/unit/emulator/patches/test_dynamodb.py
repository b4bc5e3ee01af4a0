"""Tests of the features of DynamoDB and KMS that the functions use."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from unit.emulator.replicas import EAST, WEST, global_table, item, put

Clients = Callable[..., Any]
Probe = Callable[[Clients], bool]

ACCOUNT = "123456789012"
ROOT = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}


@pytest.mark.parametrize("consistent", [False, True])
def test_reads_consume_capacity_by_size(holds_only_when_patched: Callable[[Probe], None], consistent: bool) -> None:
    def probe(client: Clients) -> bool:
        table, db = global_table(client), client("dynamodb")
        put(client, EAST, table, "a", value="x" * 5000)
        put(client, EAST, table, "b", value="x" * 5000)
        options = {"ReturnConsumedCapacity": "TOTAL", "ConsistentRead": consistent}
        one = db.get_item(TableName=table, Key=item("a"), **options)
        condition = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "p"}}}
        both = db.query(TableName=table, **condition, **options)
        costs = [answer["ConsumedCapacity"]["CapacityUnits"] for answer in (one, both)]
        # 5 kB are two blocks of 4 KiB, and 10 kB are three.
        return costs == ([2.0, 3.0] if consistent else [1.0, 1.5])

    holds_only_when_patched(probe)


def test_batch_read_returns_consumed_capacity(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        table = global_table(client)
        put(client, EAST, table, "a", value="x" * 5000)
        request = {table: {"Keys": [item("a"), item("missing")]}}
        answer = client("dynamodb").batch_get_item(RequestItems=request, ReturnConsumedCapacity="TOTAL")
        return bool(answer.get("ConsumedCapacity") == [{"TableName": table, "CapacityUnits": 1.5}])

    holds_only_when_patched(probe)


def test_transaction_consumes_twice_the_capacity_of_writes(patched: Clients) -> None:
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
def test_query_pages_have_no_gaps(patched: Clients, index: str | None) -> None:
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


def test_transaction_of_100_items_reports_the_failed_item(patched: Clients) -> None:
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


def test_transaction_is_idempotent_by_its_token(patched: Clients) -> None:
    table, db = global_table(patched), patched("dynamodb")
    write = {"TableName": table, "Item": item("a"), "ConditionExpression": "attribute_not_exists(pk)"}
    for _ in range(2):
        db.transact_write_items(TransactItems=[{"Put": write}], ClientRequestToken="token")
    other = {"TableName": table, "Item": item("b")}
    with pytest.raises(db.exceptions.IdempotentParameterMismatchException):
        db.transact_write_items(TransactItems=[{"Put": other}], ClientRequestToken="token")


def test_multi_region_key_creates_equal_macs_only_for_its_role(patched: Clients, make_role: Callable[..., str]) -> None:
    suffix = uuid.uuid4().hex
    named, other = (make_role(patched, f"{name}-{suffix}", trust=ROOT) for name in ("named", "other"))
    administration = {"Effect": "Allow", "Action": ["kms:Create*", "kms:Put*", "kms:ReplicateKey"], **ROOT}
    use = {"Effect": "Allow", "Action": "kms:GenerateMac", "Principal": {"AWS": named}}
    statements = [{**statement, "Resource": "*"} for statement in (administration, use)]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    key = patched("kms").create_key(
        KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC", MultiRegion=True, Policy=policy
    )["KeyMetadata"]["KeyId"]
    patched("kms").replicate_key(KeyId=key, ReplicaRegion=WEST, Policy=policy)
    request = {"KeyId": f"alias/{suffix}", "MacAlgorithm": "HMAC_SHA_256", "Message": b"label"}
    macs = set()
    for region in (EAST, WEST):
        patched("kms", region).create_alias(AliasName=f"alias/{suffix}", TargetKeyId=key)
        sessions = (
            patched("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"] for role in (named, other)
        )
        allowed, refused = (patched("kms", region, session) for session in sessions)
        macs.add(allowed.generate_mac(**request)["Mac"])
        with pytest.raises(ClientError, match="AccessDenied"):
            refused.generate_mac(**request)
    assert len(macs) == 1

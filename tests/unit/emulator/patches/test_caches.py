"""Tests of caches and other optimizations: results are the same as without them."""

import asyncio
import copy
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ministack.services import apigateway, dynamodb, eventbridge, scheduler

from healthcare_dr.emulator.patches import apigateway as apigateway_patches
from healthcare_dr.emulator.patches import clock, cloudwatch, lambda_runtime
from healthcare_dr.emulator.patches import dynamodb as dynamodb_patches
from unit.emulator.replicas import global_table, item

Clients = Callable[..., Any]

LOGS = """
import os, sys

def handler(event, context):
    for line in event["lines"]:
        print(line)
    os.write(1, b'not an answer\\n{"status": "unknown"}\\n')
    if event.get("fail"):
        raise ValueError("on purpose")
    return {"large": "x" * event.get("bytes", 0), "id": context.aws_request_id}
"""
START = 1_800_000_000.0


@pytest.fixture
def restored() -> Iterator[None]:
    """Restore the modules that a test patches."""
    modules = (apigateway, dynamodb, eventbridge, scheduler)
    before = [(module, dict(vars(module))) for module in modules]
    yield
    clock.set_time_scale_source(lambda: 1.0)
    for module, values in before:
        vars(module).update(values)


@pytest.mark.usefixtures("restored")
def test_cached_expression_is_evaluated_like_the_first_time() -> None:
    good = "attribute_not_exists(pk) AND #a = :a"
    values, names = {":a": {"S": "1"}}, {"#a": "a"}
    dynamodb_patches.cache_parsed_expressions()
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


def test_copies_share_no_mutable_parts() -> None:
    value = {"M": {"list": {"L": [{"S": "a"}, {"B": b"b"}, {"BOOL": True}, {"SS": ["c"]}]}}, "other": {1, 2}}
    copied = dynamodb_patches.copied(value)
    assert copied == value == copy.deepcopy(value)
    copied["M"]["list"]["L"][2]["BOOL"] = False
    copied["M"]["list"]["L"][3]["SS"].append("d")
    copied["other"].add(3)
    assert value["M"]["list"]["L"][2:] == [{"BOOL": True}, {"SS": ["c"]}]  # type: ignore[index]
    assert value["other"] == {1, 2}


def test_equal_short_strings_of_two_requests_are_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_patches, "MOST_SHARED", 2)
    long = "x" * (dynamodb_patches.LONGEST_SHARED + 1)
    item = {"pk": {"S": "a"}, "same": {"S": "a"}, "n": {"N": "1"}, "long": {"S": long}, "list": {"L": [{"S": "b"}]}}
    text = json.dumps({"TableName": "S", "Item": item, "S": 1})
    requests = dynamodb_patches.SharedStrings()
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


@pytest.mark.usefixtures("restored")
def test_only_valid_signatures_are_cached_per_key(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = []

    def verify(token: str, jwk: dict[str, str]) -> bool:
        verified.append((token, jwk["n"]))
        return (token, jwk["n"]) == ("good", "1")

    monkeypatch.setattr(apigateway, "_verify_rs256_signature", verify)
    monkeypatch.setattr(apigateway_patches, "SIGNATURES", 1)
    apigateway_patches.cache_verified_signatures()
    calls = [("good", "1"), ("good", "1"), ("good", "2"), ("good", "2"), ("bad", "1"), ("bad", "1"), ("good", "1")]
    found = [apigateway._verify_rs256_signature(token, {"n": n, "e": "3"}) for token, n in calls]
    assert found == [True, True, False, False, False, False, True]
    assert verified == [("good", "1"), ("good", "2"), ("good", "2"), ("bad", "1"), ("bad", "1")]


@pytest.mark.usefixtures("restored")
def test_path_parameters_are_copies() -> None:
    apigateway_patches.cache_route_matches()
    found = apigateway._extract_path_params("/fhir/{kind}/{id}", "/fhir/Patient/1")
    assert found == {"kind": "Patient", "id": "1"}
    found.clear()
    assert apigateway._extract_path_params("/fhir/{kind}/{id}", "/fhir/Patient/1") == {"kind": "Patient", "id": "1"}
    assert apigateway._extract_path_params("/health", "/health") == {}
    assert apigateway._extract_path_params("/health", "/other") is None


@pytest.mark.usefixtures("restored")
def test_schedules_follow_the_time_scale() -> None:
    clock.scale_schedules()
    assert eventbridge._parse_rate_seconds("rate(1 minute)") == 60
    clock.set_time_scale_source(lambda: 10.0)
    assert eventbridge._parse_rate_seconds("rate(1 minute)") == 6
    assert eventbridge._parse_rate_seconds("cron(0 12 * * ? *)") is None
    assert scheduler._SCHEDULE_TICK_INTERVAL <= 1
    clock.set_time_scale_source(lambda: 0.1)
    assert eventbridge._parse_rate_seconds("rate(1 minute)") == 60


def alarm(**options: Any) -> dict[str, Any]:
    return {
        "Namespace": "n",
        "MetricName": "m",
        "Period": 60,
        "EvaluationPeriods": 1,
        "AlarmConfigurationUpdatedTimestamp": START,
    } | options


def test_alarm_is_due_with_new_data_and_at_each_period() -> None:
    key = ("account", "region", "name")
    alarms = {key: alarm()}
    schedule = cloudwatch.Schedule(started=START)

    def due(seconds: float, scale: float = 1.0) -> bool:
        return bool(schedule.due(alarms, now=START + seconds, scale=scale))

    assert due(1)
    assert not due(2)
    schedule.note(("account", "region", "n", "m", ""))
    # Data arrive continuously: not due each time.
    assert [due(3), due(5.9), due(6), due(7)] == [False, False, True, False]
    schedule.note(("account", "region", "n", "other", ""))
    assert not due(20)
    assert [due(60), due(61), due(120)] == [True, False, True]
    assert due(121, scale=10)
    assert [due(125, scale=10), due(126, scale=10)] == [False, True]
    alarms[key] = alarm(Threshold=2)
    assert due(127)
    alarms.clear()
    assert not due(128)


def test_alarm_is_due_when_missing_data_start_to_count() -> None:
    alarms = {("account", "region", "name"): alarm(AlarmConfigurationUpdatedTimestamp=START + 30)}
    schedule = cloudwatch.Schedule(started=START)
    found = [second for second in range(31, 240) if schedule.due(alarms, now=START + second, scale=1.0)]
    # The evaluation range is three periods.
    assert found == [31, 60, 120, 180, 210]


def test_data_of_another_region_make_no_alarm_due() -> None:
    alarms = {("account", region, "name"): alarm() for region in ("here", "there")}
    schedule = cloudwatch.Schedule(started=START)
    for region in ("here", "there"):
        schedule.note(("account", region, "n", "m", ""))
    assert schedule.changed_in(alarms, "account", "here", now=START) == [("account", "here", "name")]
    assert schedule.changed_in(alarms, "account", "here", now=START) == []
    assert schedule.changed_in(alarms, "account", "there", now=START) == [("account", "there", "name")]


def test_nested_work_gets_a_thread_and_threads_are_reused() -> None:
    threads, names = lambda_runtime.Threads(), []

    def run(*inner: Callable[[], None]) -> None:
        done = threading.Event()

        def work() -> None:
            names.append(threading.get_ident())
            for one in inner:
                one()
            done.set()

        threads.run(work, name="test")
        assert done.wait(10)

    run(lambda: run(run))
    assert len(set(names)) == 3
    for _ in range(20):
        run()
        time.sleep(0.01)
    assert len(set(names)) == 3


def test_cancelled_caller_unwinds_when_the_work_has_ended() -> None:
    async def scenario() -> list[str]:
        seen: list[str] = []
        future = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            try:
                await lambda_runtime._finished(future)
            finally:
                seen.append("unwound")

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        seen.append("ended")
        future.set_exception(ValueError())
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen

    assert asyncio.run(scenario()) == ["ended", "unwound"]


def test_each_invocation_has_its_own_log_and_printed_lines_are_not_responses(
    patched: Clients, make_function: Callable[..., str]
) -> None:
    import base64
    import json

    name = f"logs-{uuid.uuid4().hex}"
    make_function(patched, name, LOGS)

    def call(*lines: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
        answer = patched("lambda").invoke(
            FunctionName=name, LogType="Tail", Payload=json.dumps({"lines": lines, **options})
        )
        log = base64.b64decode(answer.get("LogResult", "")).decode().splitlines()
        return json.loads(answer["Payload"].read()), [line for line in log if line.startswith("line")]

    ids = set()
    for number in range(3):
        answer, _ = call(f"line {number} a", f"line {number} b", bytes=200_000)
        assert len(answer["large"]) == 200_000
        ids.add(answer["id"])
    answer, _ = call()
    ids.add(answer["id"])
    assert len(ids) == 4
    answer, _ = call("line of one that fails", fail=True)
    assert answer["errorMessage"] == "on purpose"
    assert call("line after")[0]["id"] not in ids
    pages = patched("logs").get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
    by_stream: dict[str, list[str]] = {}
    for event in (event for page in pages for event in page["events"]):
        assert "\0" not in event["message"]
        if event["message"].startswith("line"):
            by_stream.setdefault(event["logStreamName"], []).append(event["message"])
    own = [[f"line {number} a", f"line {number} b"] for number in range(3)]
    assert sorted(by_stream.values()) == sorted([*own, ["line of one that fails"], ["line after"]])


def test_timed_out_function_is_ended_and_the_next_call_succeeds(
    patched: Clients, make_function: Callable[..., str]
) -> None:
    import json

    name = f"late-{uuid.uuid4().hex}"
    source = "import time\n\ndef handler(event, context):\n    time.sleep(event)\n    return 'done'\n"
    make_function(patched, name, source)
    patched("lambda").update_function_configuration(FunctionName=name, Timeout=1)

    def call(seconds: float) -> Any:
        answer = patched("lambda").invoke(FunctionName=name, Payload=json.dumps(seconds))
        return json.loads(answer["Payload"].read())

    assert "timed out" in call(20)["errorMessage"]
    assert call(0) == "done"


def test_update_does_not_change_the_replica_or_stream_images(patched: Clients, replicating: Any) -> None:
    table, dynamo = global_table(patched), patched("dynamodb")
    west = patched("dynamodb", "us-west-2")
    dynamo.put_item(TableName=table, Item=item("a", value="1"))
    key = {"pk": {"S": "p"}, "sk": {"S": "a"}}
    deadline = time.monotonic() + 20
    while "Item" not in west.get_item(TableName=table, Key=key) and time.monotonic() < deadline:
        time.sleep(0.02)
    replicating.set_replication(tables=False)
    west.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET #v = :v",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":v": {"S": "2"}},
    )
    assert dynamo.get_item(TableName=table, Key=key)["Item"]["value"] == {"S": "1"}
    assert west.get_item(TableName=table, Key=key)["Item"]["value"] == {"S": "2"}
    replicating.set_replication(tables=True)


def test_invalid_condition_is_rejected(patched: Clients) -> None:
    table = global_table(patched)
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        patched("dynamodb").put_item(TableName=table, Item=item("a"), ConditionExpression="attribute_exists(pk)")

"""Patch event source mappings of Lambda that read a DynamoDB stream."""

import json
import time
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import dynamodb, lambda_svc

from healthcare_dr.emulator.patches import history

Record = dict[str, Any]

UNLIMITED = -1


@dataclass
class Retry:
    """How the rest of a failed batch is retried."""

    # The end of the batch in the stream, and the number of records of the next attempt.
    until: int = 0
    size: int = 0
    failures: int = 0


@dataclass(frozen=True)
class Attempt:
    """Records of a stream for one invocation of a mapping's function."""

    mapping: Record
    function: Record
    position: int
    records: list[Record]


def retry_batches() -> None:
    """A batch counted as processed although the function reported failed items; a batch that failed as a whole was
    never split and never given up; and a slow function blocked the mappings of both regions.
    """
    retries: dict[str, Retry] = {}

    def poll() -> bool:
        started = False
        for account, region, mapping in lambda_svc._iter_all_esms():
            with request_scope(account, region):
                with history.streams_lock:
                    attempt = _next_attempt(mapping, retries.get(mapping["UUID"], Retry()))
                if attempt is not None:
                    started = True
                    # Runs on a thread of its own, in the present scope.
                    lambda_svc._dispatch_esm_batch(mapping["UUID"], work, attempt)
        return started

    def work(attempt: Attempt) -> None:
        _work(attempt, retries.setdefault(attempt.mapping["UUID"], Retry()))

    lambda_svc._poll_dynamodb_streams = poll


def _next_attempt(mapping: Record, retry: Retry) -> Attempt | None:
    name, source = mapping["UUID"], mapping.get("EventSourceArn", "")
    if ":dynamodb:" not in source or not mapping.get("Enabled", True) or lambda_svc._esm_inflight.get(name):
        return None
    if lambda_svc._esm_backoff_until.get(name, 0) > time.time():
        return None
    function, _ = lambda_svc._get_func_record_for_qualifier(mapping["FunctionName"], mapping.get("Qualifier"))
    table = source.partition(":table/")[2].partition("/")[0]
    if function is None or (dynamodb._tables.get(table) or {}).get("LatestStreamArn") != source:
        return None
    lambda_svc._init_stream_position(name, source, mapping.get("StartingPosition", "LATEST"))
    position = max(lambda_svc._dynamodb_stream_positions[name], dynamodb.stream_start_position(table))
    size = mapping.get("BatchSize", 100)
    records = dynamodb.stream_records_since(table, position, min(size, retry.size or size))
    return Attempt(mapping=mapping, function=function, position=position, records=records) if records else None


def _work(attempt: Attempt, retry: Retry) -> None:
    mapping, records = attempt.mapping, attempt.records
    batch = lambda_svc._apply_filter_criteria(records, mapping)
    result = lambda_svc._execute_function(attempt.function, {"Records": batch}) if batch else {}
    if result.get("throttle"):
        # The function was not invoked, so this is not an attempt.
        lambda_svc._esm_backoff_until[mapping["UUID"]] = time.time() + lambda_svc._ESM_BACKOFF_SECONDS
        return
    done = _done(mapping, records, result)
    retry.until = max(retry.until, attempt.position + len(records))
    if done == len(records):
        mapping["LastProcessingResult"] = f"OK - {len(batch)} records"
        retry.failures = 0
    else:
        mapping["LastProcessingResult"] = "PROBLEM: Function call failed"
        retry.size = len(records) - done
        if done == 0 and mapping.get("BisectBatchOnFunctionError") and len(records) > 1:
            # A split does not count as a retry.
            retry.size = -(-len(records) // 2)
        else:
            retry.failures = 1 if done else retry.failures + 1
            done = _after_failure(attempt, retry, result, done)
    position = attempt.position + done
    if done == len(records):
        retry.size = retry.until - position
    # The mapping may have been deleted during the invocation.
    if mapping["UUID"] in lambda_svc._dynamodb_stream_positions:
        lambda_svc._dynamodb_stream_positions[mapping["UUID"]] = position


def _done(mapping: Record, records: list[Record], result: Record) -> int:
    """Return how many records are processed: those before the first failure."""
    if result.get("error"):
        return 0
    body = result.get("body")
    if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []) or not body:
        return len(records)
    try:
        answer = json.loads(body) if isinstance(body, str | bytes) else body
    except ValueError:
        # A response that is not JSON fails the batch, as one that names an unknown record does.
        return 0
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if not failures:
        return len(records)
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    named = [failure.get("itemIdentifier") for failure in failures]
    # An unknown name fails the whole batch.
    return min(numbers.index(name) for name in named) if set(named) <= set(numbers) else 0


def _after_failure(attempt: Attempt, retry: Retry, result: Record, done: int) -> int:
    """Return how many records are finished: all of them when the failed ones are given up."""
    mapping, failed = attempt.mapping, attempt.records[done:]
    most, oldest = mapping.get("MaximumRetryAttempts", UNLIMITED), mapping.get("MaximumRecordAgeInSeconds", UNLIMITED)
    if most != UNLIMITED and retry.failures > most:
        condition = "RetryAttemptsExhausted"
    elif oldest != UNLIMITED and time.time() - failed[0]["dynamodb"]["ApproximateCreationDateTime"] > oldest:
        condition = "MaxRecordAgeExceeded"
    else:
        lambda_svc._esm_backoff_until[mapping["UUID"]] = time.time() + lambda_svc._ESM_BACKOFF_SECONDS
        return done
    source = mapping["EventSourceArn"]
    lambda_svc._send_ddb_stream_failure_record(mapping, attempt.function, failed, source, result, condition)
    retry.failures = 0
    return len(attempt.records)

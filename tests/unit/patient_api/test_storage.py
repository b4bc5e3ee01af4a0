"""Responses to errors of DynamoDB."""

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, NoCredentialsError, ReadTimeoutError

from unit.patient_api.fakes.api import Platform, patient
from unit.patient_api.fakes.aws import client_error

CANCELLED = "TransactionCanceledException"
URL = "https://dynamodb.example"


def cancelled(*reasons: str) -> ClientError:
    return client_error(CANCELLED, "TransactWriteItems", reasons=reasons)


@pytest.mark.parametrize(
    ("fault", "code", "issue"),
    [
        (client_error("AccessDeniedException"), "AccessDeniedException", "transient"),
        (client_error("InternalServerError"), "InternalServerError", "transient"),
        (client_error("ThrottlingException"), "ThrottlingException", "throttled"),
        (client_error("RequestLimitExceeded"), "RequestLimitExceeded", "throttled"),
        (cancelled("None", "None", "ThrottlingError"), "ThrottlingError", "throttled"),
        (cancelled("ProvisionedThroughputExceeded", "None", "None"), "ProvisionedThroughputExceeded", "throttled"),
        (cancelled("None", "None", "ConditionalCheckFailed"), "ConditionalCheckFailed", "transient"),
        (cancelled("ConditionalCheckFailed", "None", "None"), "ConditionalCheckFailed", "transient"),
        (cancelled("ValidationError", "None", "None"), "ValidationError", "transient"),
        (client_error(CANCELLED), CANCELLED, "transient"),
        (ReadTimeoutError(endpoint_url=URL), "ReadTimeoutError", "transient"),
        (ConnectTimeoutError(endpoint_url=URL), "ConnectTimeoutError", "transient"),
        (NoCredentialsError(), "NoCredentialsError", "transient"),
    ],
)
@pytest.mark.requirement("C5")
def test_storage_fault_returns_503_with_retry_after(
    platform: Platform, fault: ClientError | BotoCoreError, code: str, issue: str
) -> None:
    platform.dynamodb.faults["transact_write_items"] = [fault]
    reply = platform.call("POST", "/fhir/Patient", patient())
    assert reply.outcome == (503, issue)
    assert reply.headers["retry-after"] == "2"
    assert "Traceback" not in reply.body
    (line,) = [line for line in platform.log.messages() if line["message"] == "storage fault"]
    assert line["code"] == code
    assert not platform.records
    assert [item["status"] for item in platform.audit(outcome="failure")] == ["503"]


def test_existing_head_of_a_new_record_returns_409(platform: Platform) -> None:
    platform.dynamodb.faults["transact_write_items"] = [cancelled("None", "ConditionalCheckFailed", "None")]
    assert platform.call("POST", "/fhir/Patient", patient()).status == 409


@pytest.mark.parametrize(
    "conflict", [cancelled("None", "TransactionConflict", "None"), client_error("TransactionConflictException")]
)
def test_transaction_conflict_is_retried_with_the_same_token(platform: Platform, conflict: ClientError) -> None:
    platform.dynamodb.faults["transact_write_items"] = [conflict, conflict]
    assert platform.call("POST", "/fhir/Patient", patient()).status == 201
    first, second, third = (request for _, request in platform.dynamodb.calls)
    assert first == second == third
    assert len(platform.pauses) == 2
    assert max(platform.pauses) < 0.25


def test_persistent_conflict_returns_409_and_is_audited(platform: Platform) -> None:
    conflict = cancelled("None", "TransactionConflict", "None")
    platform.dynamodb.faults["transact_write_items"] = [conflict] * 3
    reply = platform.call("POST", "/fhir/Patient", patient())
    assert (reply.status, reply.json["issue"][0]["code"]) == (409, "conflict")
    assert [item["status"] for item in platform.audit(outcome="refused")] == ["409"]


def test_repeated_transaction_writes_once(platform: Platform) -> None:
    platform.create()
    _, request = platform.dynamodb.calls[0]
    platform.dynamodb.transact_write_items(**request)
    assert len(platform.versions()) == 1


@pytest.mark.parametrize(
    ("fault", "metric"),
    [
        (client_error("AccessDeniedException", message="not authorized for dynamodb:GetItem"), "StorageFailures"),
        (client_error("AccessDeniedException", message="KMS key access denied"), "KeyFailures"),
        (client_error("KMSDisabledException"), "KeyFailures"),
    ],
)
@pytest.mark.requirement("R6.2")
def test_storage_faults_publish_metrics(platform: Platform, fault: ClientError, metric: str) -> None:
    platform.dynamodb.faults["transact_write_items"] = [fault]
    platform.call("POST", "/fhir/Patient", patient())
    assert platform.log.metrics() == {metric: 1.0}
    assert '"Namespace":"HealthcareDR","Dimensions":[["service"]]' in platform.log.getvalue()


def test_unreadable_version_returns_503(platform: Platform) -> None:
    key = platform.create().json["id"]
    (version,) = platform.versions()
    version["version"] = {"S": "garbage"}
    assert platform.call("GET", f"/fhir/Patient/{key}").status == 503

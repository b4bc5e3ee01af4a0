"""The live target asks each question once, changes nothing, and leaves alone who does not answer."""

import threading
from collections.abc import Mapping
from typing import Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from healthcare_dr.ops.ports import Target
from healthcare_dr.ops.verify.live_target import ChangeRefusedError, LiveTarget, RequestFailedError
from healthcare_dr.settings import Settings
from unit.ops.verify.fakes import EAST, WEST, Aws, deployed, live, refusal


class Real:
    """A target of boto3's own clients, with what they are to be answered."""

    name = "aws"

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def client(self, service: str, region: str) -> Any:
        client = boto3.client(cast("Any", service), region_name=region, aws_access_key_id="1",
                              aws_secret_access_key="2")  # fmt: skip
        stub = Stubber(client)
        for operation, answer in self._answers.items():
            for page in answer if isinstance(answer, list) else [answer]:
                stub.add_response(operation, page)
        stub.activate()
        return client


def real(**answers: Any) -> LiveTarget:
    return LiveTarget(
        settings=Settings(_env_file=None), target=cast("Target", Real(answers)), deployed=deployed(), emulator=None,
        probe=lambda _: 200,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("service", "operation", "request_"),
    [
        ("dynamodb", "put_item", {"TableName": "t", "Item": {"pk": {"S": "x"}}}),
        ("dynamodb", "delete_table", {"TableName": "t"}),
        ("s3", "put_bucket_versioning", {"Bucket": "b", "VersioningConfiguration": {"Status": "Suspended"}}),
        ("lambda", "invoke", {"FunctionName": "f"}),
        ("kms", "generate_data_key", {"KeyId": "k", "KeySpec": "AES_256"}),
        ("route53", "update_health_check", {"HealthCheckId": "h"}),
    ],
)
def test_client_rejects_operations_that_write(service: str, operation: str, request_: dict[str, Any]) -> None:
    client = real().client(service, EAST)
    with pytest.raises(ChangeRefusedError):
        getattr(client, operation)(**request_)


def test_a_client_lets_reading_through() -> None:
    answered = real(describe_key={"KeyMetadata": {"KeyId": "k"}}).request("kms", EAST, "describe_key", KeyId="k")
    assert answered["KeyMetadata"]["KeyId"] == "k"


def checks(number: int, *, following: str | None = None) -> dict[str, Any]:
    config = {"Type": "CALCULATED"}
    check = {"Id": f"check-{number}", "CallerReference": "c", "HealthCheckConfig": config, "HealthCheckVersion": 1}
    page = {"HealthChecks": [check], "Marker": "", "IsTruncated": following is not None, "MaxItems": "100"}
    return page | ({"NextMarker": following} if following else {})


def records(number: int, *, following: str | None = None) -> dict[str, Any]:
    page = {
        "ResourceRecordSets": [{"Name": f"{number}.example.", "Type": "A"}], "IsTruncated": following is not None,
        "MaxItems": "300",
    }  # fmt: skip
    return page | ({"NextRecordName": following, "NextRecordType": "A"} if following else {})


@pytest.mark.parametrize(
    ("operation", "request_", "page", "key"),
    [
        ("list_health_checks", {}, checks, "HealthChecks"),
        ("list_resource_record_sets", {"HostedZoneId": "Z1"}, records, "ResourceRecordSets"),
    ],
)
def test_all_pages_are_read(operation: str, request_: dict[str, Any], page: Any, key: str) -> None:
    there = real(**{operation: [page(1, following="2"), page(2, following="3"), page(3)]})
    assert len(there.request("route53", EAST, operation, **request_)[key]) == 3


def test_concurrent_equal_requests_are_sent_once() -> None:
    there = live({("kms", "describe_key"): {"KeyMetadata": {}}})
    asking = [
        threading.Thread(target=there.request, args=("kms", region, "describe_key"), kwargs={"KeyId": key})
        for _ in range(5)
        for region in (EAST, WEST)
        for key in "ab"
    ]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert len(asked(there)) == 4


def test_an_error_that_means_nothing_there_is_none() -> None:
    there = live({("s3", "get_bucket_policy"): refusal("NoSuchBucketPolicy", 404)})
    assert there.request_optional("s3", EAST, "get_bucket_policy", ("NoSuchBucketPolicy",), Bucket="b") is None
    with pytest.raises(RequestFailedError, match="s3 in us-east-1: get_bucket_policy failed"):
        there.request("s3", EAST, "get_bucket_policy", Bucket="b")


def test_service_that_is_down_receives_no_second_request() -> None:
    there = live({("iam", "get_role"): refusal("ServiceUnavailable", 503)})
    for role in "abc":
        with pytest.raises(RequestFailedError) as error:
            there.request("iam", EAST, "get_role", RoleName=role)
        assert error.value.unreachable
        assert error.value.service == "iam"
    assert len(asked(there)) == 1


def test_denied_request_does_not_block_others() -> None:
    there = live({("iam", "get_role"): refusal("AccessDenied", 403)})
    for role in "abc":
        with pytest.raises(RequestFailedError):
            there.request("iam", EAST, "get_role", RoleName=role)
    assert len(asked(there)) == 3


def asked(there: LiveTarget) -> list[Any]:
    target: Any = there.target
    assert isinstance(target, Aws)
    return target.asked

"""The live target sends each request once, refuses changes, and sends nothing to a service that does not respond."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.ports import Target
from healthcare_dr.ops.verify.live_target import ChangeRefusedError, LiveTarget, RequestFailedError, open_live_target
from healthcare_dr.settings import Settings
from unit.ops.verify.fakes import EAST, WEST, deployed, live, refusal, resource, sent


class Real:
    """A target with clients of boto3 and given responses."""

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


def test_client_sends_read_requests() -> None:
    response = real(describe_key={"KeyMetadata": {"KeyId": "k"}}).request("kms", EAST, "describe_key", KeyId="k")
    assert response["KeyMetadata"]["KeyId"] == "k"


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
    with ThreadPoolExecutor(20) as pool:
        for _ in range(5):
            for region in (EAST, WEST):
                for key in "ab":
                    pool.submit(there.request, "kms", region, "describe_key", KeyId=key)
    assert len(sent(there)) == 4


def test_error_of_a_missing_resource_is_none() -> None:
    there = live({("s3", "get_bucket_policy"): refusal("NoSuchBucketPolicy", 404)})
    assert there.request_optional("s3", EAST, "get_bucket_policy", ("NoSuchBucketPolicy",), Bucket="b") is None
    with pytest.raises(RequestFailedError, match="s3 in us-east-1: get_bucket_policy failed"):
        there.request("s3", EAST, "get_bucket_policy", Bucket="b")


@pytest.mark.parametrize(("code", "status", "requests"), [("ServiceUnavailable", 503, 1), ("AccessDenied", 403, 3)])
def test_service_that_is_down_receives_no_second_request(code: str, status: int, requests: int) -> None:
    there = live({("iam", "get_role"): refusal(code, status)})
    for role in "abc":
        with pytest.raises(RequestFailedError) as error:
            there.request("iam", EAST, "get_role", RoleName=role)
        assert (error.value.service, error.value.unreachable) == ("iam", status == 503)
    assert len(sent(there)) == requests


class Held:
    """A target with states, and an embedded AWS that does not run."""

    name = "embedded"

    def __init__(self, **resources: Any) -> None:
        self._held = deployed(**resources)

    def read_state(self, stack: str) -> bytes:
        return json.dumps({"version": 4, **self._held.states[stack].document}).encode()

    def edge_addresses(self) -> dict[str, tuple[str, int]]:
        return {}

    def running(self) -> bool:
        return False


ONE = [resource("aws_sns_topic", "a", arn="arn:aws:sns:us-east-1:1:a")]


def test_deployed_resources_are_read_from_the_states() -> None:
    target = Held(primary=ONE, secondary=ONE, common=ONE)
    there = open_live_target(Settings(_env_file=None), cast("Target", target), None)
    assert [found.name for found in there.deployed.of("aws_sns_topic", EAST)] == ["a", "a"]


def test_nothing_deployed_or_running_prints_one_line() -> None:
    with pytest.raises(DeploymentError, match="the stack healthcare-dr-global is not deployed: deploy it first"):
        open_live_target(Settings(_env_file=None), cast("Target", Held(primary=ONE, secondary=ONE)), None)
    target = Held()
    with pytest.raises(DeploymentError, match="does not run: start it with `hdr up`"):
        open_live_target(Settings(_env_file=None), cast("Target", target), cast("Any", target))

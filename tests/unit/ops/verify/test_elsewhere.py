"""What the embedded AWS cannot play, or plays only at the cost of the platform: each check, with AWS's answers."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from healthcare_dr.ops.verify.checks.domain import delegated
from healthcare_dr.ops.verify.live_target import RequestFailedError
from unit.ops.verify.fakes import EAST, NOW, WEST, deployed, found, live, problems, refusal, resource

Answers = dict[tuple[str, ...], Any]


def table(**changed: Any) -> dict[str, Any]:
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    replicas = [{"RegionName": WEST, "ReplicaStatus": "ACTIVE"}]
    return {"Table": {"TableStatus": "ACTIVE", "StreamSpecification": stream, "Replicas": replicas} | changed}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (table(), None),
        (table(TableStatus="UPDATING"), "patient_records-dev is UPDATING"),
        (table(Replicas=[]), "patient_records-dev: its replica in us-west-2 is missing"),
        (
            table(Replicas=[{"RegionName": WEST, "ReplicaStatus": "INACCESSIBLE_ENCRYPTION_CREDENTIALS"}]),
            "patient_records-dev: its replica in us-west-2 is INACCESSIBLE_ENCRYPTION_CREDENTIALS",
        ),
        (refusal("ResourceNotFoundException"), "patient_records-dev does not exist"),
    ],
)
def test_tables_and_replicas_are_active(answer: Any, says: str | None) -> None:
    def describe(request: dict[str, Any]) -> Any:
        return answer if request["TableName"] == "patient_records-dev" else table()

    there = live({("dynamodb", "describe_table"): describe})
    assert problems("table-active", there) == ([says] if says else [])


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        ({"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}, None),
        ({"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}, "streams KEYS_ONLY"),
        ({"StreamEnabled": False}, "streams nothing"),
        (None, "streams nothing"),
    ],
)
def test_tables_stream_both_images(stream: Any, says: str | None) -> None:
    told = problems("table-stream", live({("dynamodb", "describe_table"): table(StreamSpecification=stream)}))
    assert told == ([f"{name} {says}" for name in ("patient_records-dev", "audit_logs-dev")] if says else [])


REPLICATED = deployed(
    common=[
        resource(
            "aws_s3_bucket_replication_configuration", name, alias=alias,
            bucket=f"hdr-documents-123456789012-{region}-dev", rule=[{"id": "all"}],
        )
        for name, alias, region in (("one", "", EAST), ("other", "secondary", WEST))
    ]
)  # fmt: skip


def points(*values: float, statistic: str = "Sum") -> dict[str, Any]:
    return {"Datapoints": [{statistic: value} for value in values]}


@pytest.mark.parametrize(
    ("failures", "backlog", "says"),
    [
        (points(), points(), []),
        (points(0, 0), points(*[3.0] * 14, 0, statistic="Minimum"), []),
        (points(0, 2), points(), ["2 documents could not be replicated to us-west-2"]),
        (points(), points(5, 5, 5, statistic="Minimum"), []),
        (
            points(), points(*[5.0] * 15, statistic="Minimum"),
            ["documents from us-west-2 have been pending for 15 minutes"],
        ),
    ],
)  # fmt: skip
def test_failed_replication_of_s3_is_found(failures: Any, backlog: Any, says: list[str]) -> None:
    def answer(request: dict[str, Any]) -> Any:
        here, there = (f"hdr-documents-123456789012-{region}-dev" for region in (EAST, WEST))
        failed = request["MetricName"] == "OperationsFailedReplication"
        assert [part["Value"] for part in request["Dimensions"]] == [
            *((here, there) if failed else (there, here)),
            "all",
        ]
        assert request["EndTime"] - request["StartTime"] == timedelta(minutes=15)
        return failures if failed else backlog

    there = live({("cloudwatch", "get_metric_statistics"): answer}, held=REPLICATED)
    assert problems("documents-failed", there) == says


@pytest.mark.trap(7)
def test_lag_on_aws_is_read_from_published_metrics() -> None:
    def answer(request: dict[str, Any]) -> Any:
        receiving = request["Dimensions"][1]["Value"]
        return points(90_000 if receiving == EAST else 10, statistic="Maximum")

    told = problems("replication-lag", live({("cloudwatch", "get_metric_statistics"): answer}))
    assert told == [
        f"{table} of us-west-2: replication to us-east-1 is 90.0 s late"
        for table in ("patient_records-dev", "audit_logs-dev")
    ]


@pytest.mark.trap(7)
def test_silence_is_found_where_heartbeats_are_written() -> None:
    told = problems("replication-lag", live({("cloudwatch", "get_metric_statistics"): points()}))
    assert told == [
        f"patient_records-dev of {source}: CloudWatch has no ReplicationLatency to {receiving} of the last 5 minutes"
        for source, receiving in ((EAST, WEST), (WEST, EAST))
    ]


def test_unreadable_lag_is_unknown() -> None:
    (finding,) = found("replication-lag", live({("cloudwatch", "get_metric_statistics"): refusal("Throttling")}))
    assert (finding.severity, finding.service) == ("unknown", "cloudwatch")


def account(here: int, there: int, used: float = 0.0, reserved: int = 0) -> Answers:
    def limits(number: int) -> Any:
        limit = {"ConcurrentExecutions": number, "UnreservedConcurrentExecutions": number - reserved}
        return {"AccountLimit": limit}

    return {
        ("lambda", EAST, "get_account_settings"): limits(here),
        ("lambda", WEST, "get_account_settings"): limits(there),
        ("cloudwatch", "get_metric_statistics"): points(used / 2, used, statistic="Maximum"),
    }


@pytest.mark.trap(33)
@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (account(1000, 1000), []),
        (account(1000, 1000, used=500), []),
        (account(1000, 2000), ["us-east-1 runs 1000 calls at once, but us-west-2 runs 2000"]),
        (account(10, 10), ["runs 10 calls at once, but its API admits a burst of 500 (HDR_THROTTLE_BURST)"] * 2),
        (account(1000, 1000, reserved=600), ["runs 400 calls at once, but its API admits a burst"] * 2),
        (account(1000, 1000, used=501), ["runs 1000 calls at once, but both regions together have needed 1002"] * 2),
    ],
)
def test_each_region_carries_the_load_of_both(answers: Answers, says: list[str]) -> None:
    told = problems("quotas", live(answers))
    assert len(told) == len(says)
    assert all(text in one for text, one in zip(says, told, strict=True))


@pytest.mark.trap(33)
def test_the_api_admits_the_load_of_both() -> None:
    def served(calls: float) -> Answers:
        limits = {"ThrottlingRateLimit": 1000.0, "ThrottlingBurstLimit": 500}
        return {
            ("apigatewayv2", "get_api"): {},
            ("apigatewayv2", "get_stages"): {"Items": [{"StageName": "$default", "DefaultRouteSettings": limits}]},
            ("apigatewayv2", "get_authorizers"): {"Items": []},
            ("apigatewayv2", "get_routes"): {"Items": []},
            ("cloudwatch", "get_metric_statistics"): points(10, calls),
        }

    assert problems("api", live(served(calls=1000 * 300 / 2))) == []
    (told,) = problems("api", live(served(calls=1001 * 300 / 2)))
    assert told == "the API admits 1000 requests a second, both regions together had 1001"


@pytest.mark.parametrize("allowed", [["*"], ["https://app.example.com"]])
def test_the_api_allows_no_origin_that_the_settings_do_not(allowed: list[str]) -> None:
    limits = {"ThrottlingRateLimit": 1000.0, "ThrottlingBurstLimit": 500}
    answers: Answers = {
        ("apigatewayv2", "get_api"): {"CorsConfiguration": {"AllowOrigins": allowed}},
        ("apigatewayv2", "get_stages"): {"Items": [{"StageName": "$default", "DefaultRouteSettings": limits}]},
        ("apigatewayv2", "get_authorizers"): {"Items": []},
        ("apigatewayv2", "get_routes"): {"Items": []},
        ("cloudwatch", "get_metric_statistics"): points(10, 1),
    }
    assert problems("api", live(answers)) == [f"the API allows the origins {allowed}, not []"]


@pytest.mark.trap(37)
@pytest.mark.parametrize(
    ("location", "versioning", "says"),
    [
        (WEST, "Enabled", []),
        (None, "Enabled", ["states is in us-east-1, not in us-west-2"]),
        (WEST, None, ["states keeps no versions: a damaged state could not be restored"]),
    ],
)
def test_the_state_survives_us_east_1(location: str | None, versioning: str | None, says: list[str]) -> None:
    answers: Answers = {
        ("s3", WEST, "get_bucket_location"): {"LocationConstraint": location},
        ("s3", WEST, "get_bucket_versioning"): {"Status": versioning} if versioning else {},
    }
    assert problems("state", live(answers, settings={"state_bucket": "states"})) == says


@pytest.mark.trap(37)
def test_a_state_that_is_gone_or_on_one_machine_is_found() -> None:
    gone: Answers = {("s3", "get_bucket_location"): refusal("NoSuchBucket", 404)}
    assert problems("state", live(gone, settings={"state_bucket": "states"})) == ["states does not exist"]
    (alone,) = found("state", live({}))
    assert (alone.severity, "HDR_STATE_BUCKET" in alone.problem) == ("failure", True)
    assert found("state", live({}, name="embedded")) == []


@pytest.mark.trap(30)
def test_the_parent_names_the_servers_of_our_zone() -> None:
    zone: Answers = {
        ("route53", "get_hosted_zone"): {"DelegationSet": {"NameServers": ["ns-1.example", "ns-2.example"]}}
    }

    def asked(*servers: str) -> list[str]:
        there = live(zone, settings={"dns_delegated": True}, name_servers=lambda _: servers)
        return problems("delegation", there)

    assert asked("NS-2.example.", "ns-1.example.") == []
    assert asked() == ["healthcare-dr-dev.com is not delegated"]
    assert "is delegated to ns-1.example, ns-9.example, not to" in asked("ns-1.example", "ns-9.example")[0]
    assert found("delegation", live({})) == []


def test_a_parent_that_does_not_answer_leaves_the_delegation_unknown() -> None:
    def silent(_: str) -> list[str]:
        raise OSError("timed out")

    with pytest.raises(RequestFailedError, match="timed out"):
        list(delegated("a.com", ["ns-1.example"], silent))


def issued(**changed: Any) -> Answers:
    name = "api.healthcare-dr-dev.com"
    said = {"Status": "ISSUED", "DomainName": name, "NotAfter": NOW + timedelta(days=90)} | changed
    return {
        ("apigatewayv2", "get_domain_name"): {"DomainNameConfigurations": [{"CertificateArn": "arn:c"}]},
        ("acm", "describe_certificate"): {"Certificate": said},
    }


@pytest.mark.trap(31)
@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (issued(), None),
        (issued(Status="PENDING_VALIDATION"), "the certificate of api.healthcare-dr-dev.com is PENDING_VALIDATION"),
        (issued(DomainName="a.com"), "the certificate is for a.com, not api.healthcare-dr-dev.com"),
        (issued(NotAfter=datetime.fromisoformat("2026-03-20T00:00:00Z")), "ends on 2026-03-20"),
        (
            {("apigatewayv2", "get_domain_name"): refusal("NotFoundException", 404)},
            "the region does not serve api.healthcare-dr-dev.com",
        ),
    ],
)
def test_each_region_serves_the_shared_name_with_a_good_certificate(answers: Answers, says: str | None) -> None:
    told = problems("certificate", live(answers, settings={"dns_delegated": True}))
    assert len(told) == (1 if says else 0)
    assert all(str(says) in one for one in told)
    assert found("certificate", live({})) == []


def subscribed(**arns: str) -> Answers:
    """A topic as it should be, with these subscriptions by who is subscribed."""
    allowed = {"Effect": "Allow", "Action": "sns:Publish", "Principal": {"Service": ["cloudwatch.amazonaws.com",
               "s3.amazonaws.com"]}}  # fmt: skip
    attributes = {
        "KmsMasterKeyId": deployed().output(EAST, "key_arn"),
        "Policy": json.dumps({"Statement": [allowed]}),
    }
    return {
        ("sns", "get_topic_attributes"): {"Attributes": attributes},
        ("sns", "list_subscriptions_by_topic"): {
            "Subscriptions": [{"Endpoint": f"{who}@clinic.org", "SubscriptionArn": arn} for who, arn in arns.items()]
        },
    }


@pytest.mark.requirement("R7.2")
def test_unconfirmed_subscription_is_a_finding() -> None:
    settings = {"operations_emails": ("ops@clinic.org",)}
    assert problems("topic", live(subscribed(ops="arn:aws:sns:x"), settings=settings)) == []
    told = problems("topic", live(subscribed(ops="PendingConfirmation"), settings=settings))
    assert told == ["ops@clinic.org has not confirmed the subscription"]


@pytest.mark.requirement("R7.2")
@pytest.mark.parametrize(("target", "severity"), [("aws", "failure"), ("embedded", "note")])
def test_topic_without_subscription_is_a_note_on_the_embedded_aws(target: str, severity: str) -> None:
    for nobody in (subscribed(), subscribed(somebody="PendingConfirmation")):
        (told,) = found("topic", live(nobody, name=target))
        assert (told.severity, "HDR_OPERATIONS_EMAILS is empty" in told.problem) == (severity, True)
    assert found("topic", live(subscribed(pager="arn:aws:sns:x"), name=target)) == []

"""Tests of patches that Terraform needs, each with ministack without patches."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

Clients = Callable[..., Any]
Probe = Callable[[Clients], bool]

ACCOUNT = "123456789012"
TAGS = [{"Key": "Environment", "Value": "Production"}]
ALARM = {
    "AlarmName": "lag",
    "AlarmDescription": "a < b & c",
    "MetricName": "ReplicationLatency",
    "Namespace": "AWS/DynamoDB",
    "Statistic": "Maximum",
    "Dimensions": [{"Name": "TableName", "Value": "records"}],
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 60.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "breaching",
    "AlarmActions": [f"arn:aws:sns:us-east-1:{ACCOUNT}:operations"],
    "OKActions": [f"arn:aws:sns:us-east-1:{ACCOUNT}:operations"],
    "ActionsEnabled": True,
}


def vpc_of(client: Clients) -> str:
    return str(client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"])


def security_group(client: Clients) -> str:
    group = client("ec2").create_security_group(GroupName=uuid.uuid4().hex, Description="d", VpcId=vpc_of(client))
    return str(group["GroupId"])


def describe_alarms_by_query(client: Clients, alarm: str) -> dict[str, Any]:
    """Return the response of the Query protocol, which the AWS provider uses and boto3 does not."""
    boto = client("cloudwatch")
    body = f"Action=DescribeAlarms&Version=2010-08-01&AlarmNames.member.1={alarm}"
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = AWSRequest("POST", boto.meta.endpoint_url, headers, body)
    signer = boto._request_signer._credentials
    SigV4Auth(Credentials(signer.access_key, signer.secret_key), "monitoring", "us-east-1").add_auth(request)
    answer = boto._endpoint.http_session.send(request.prepare())
    shape = boto.meta.service_model.operation_model("DescribeAlarms").output_shape
    parsed = create_parser("query").parse(
        {"body": answer.content, "headers": answer.headers, "status_code": answer.status_code}, shape
    )
    (found,) = parsed["MetricAlarms"]
    return dict(found)


def test_describe_alarms_returns_all_members(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        client("cloudwatch").put_metric_alarm(**ALARM)
        found = describe_alarms_by_query(client, "lag")
        return {name: found.get(name) for name in ALARM} == ALARM

    holds_only_when_patched(probe)


def test_flow_log_keeps_role_interval_format_and_tags(holds_only_when_patched: Callable[[Probe], None]) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/flow-logs"

    def probe(client: Clients) -> bool:
        created = client("ec2").create_flow_logs(
            ResourceIds=[vpc_of(client)],
            ResourceType="VPC",
            TrafficType="ALL",
            LogGroupName="flow",
            DeliverLogsPermissionArn=role,
            MaxAggregationInterval=60,
            TagSpecifications=[{"ResourceType": "vpc-flow-log", "Tags": TAGS}],
        )
        (found,) = client("ec2").describe_flow_logs(FlowLogIds=created["FlowLogIds"])["FlowLogs"]
        return (
            found.get("DeliverLogsPermissionArn") == role
            and found.get("MaxAggregationInterval") == 60
            and "${srcaddr}" in found.get("LogFormat", "")
            and found.get("Tags") == TAGS
        )

    holds_only_when_patched(probe)


def test_rule_for_all_protocols_has_no_ports(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        permission = {"IpProtocol": "-1", "FromPort": 0, "ToPort": 0, "IpRanges": [{"CidrIp": "10.1.0.0/16"}]}
        group = security_group(client)
        client("ec2").authorize_security_group_egress(GroupId=group, IpPermissions=[permission])
        (found,) = client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
        return not any("FromPort" in rule for rule in found["IpPermissionsEgress"])

    holds_only_when_patched(probe)


def test_default_egress_rule_keeps_its_tags(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        group = security_group(client)
        client("ec2").authorize_security_group_egress(
            GroupId=group,
            IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
            TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": TAGS}],
        )
        filters = [{"Name": "group-id", "Values": [group]}]
        (found,) = client("ec2").describe_security_group_rules(Filters=filters)["SecurityGroupRules"]
        return bool(found.get("Tags") == TAGS)

    holds_only_when_patched(probe)


def test_peering_options_are_stored_per_side(
    holds_only_when_patched: Callable[[Probe], None],
) -> None:
    def probe(client: Clients) -> bool:
        near, far = client("ec2"), client("ec2", "us-west-2")
        peer = far.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        connection = near.create_vpc_peering_connection(VpcId=vpc_of(client), PeerVpcId=peer, PeerRegion="us-west-2")
        name = connection["VpcPeeringConnection"]["VpcPeeringConnectionId"]
        far.accept_vpc_peering_connection(VpcPeeringConnectionId=name)
        option = {"AllowDnsResolutionFromRemoteVpc": True}
        try:
            near.modify_vpc_peering_connection_options(
                VpcPeeringConnectionId=name, RequesterPeeringConnectionOptions=option
            )
        except ClientError:
            return False
        seen = []
        for side in (near, far):
            (found,) = side.describe_vpc_peering_connections(VpcPeeringConnectionIds=[name])["VpcPeeringConnections"]
            for info in ("RequesterVpcInfo", "AccepterVpcInfo"):
                seen.append(found[info]["PeeringOptions"]["AllowDnsResolutionFromRemoteVpc"])
        return seen == [True, False, True, False]

    holds_only_when_patched(probe)


def test_new_trail_keeps_its_tags(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        bucket = uuid.uuid4().hex
        client("s3").create_bucket(Bucket=bucket)
        trail = client("cloudtrail").create_trail(Name=uuid.uuid4().hex, S3BucketName=bucket, TagsList=TAGS)
        (found,) = client("cloudtrail").list_tags(ResourceIdList=[trail["TrailARN"]])["ResourceTagList"]
        return bool(found["TagsList"] == TAGS)

    holds_only_when_patched(probe)


@pytest.mark.trap(5)
def test_replica_reports_its_own_key(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        keys = {
            region: client("kms", region).create_key()["KeyMetadata"]["Arn"] for region in ("us-east-1", "us-west-2")
        }
        table = uuid.uuid4().hex
        client("dynamodb").create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": keys["us-east-1"]},
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        create = {"Create": {"RegionName": "us-west-2", "KMSMasterKeyId": keys["us-west-2"]}}
        client("dynamodb").update_table(TableName=table, ReplicaUpdates=[create])
        primary = client("dynamodb").describe_table(TableName=table)["Table"]
        replica = client("dynamodb", "us-west-2").describe_table(TableName=table)["Table"]
        return bool(
            primary["SSEDescription"]["KMSMasterKeyArn"] == keys["us-east-1"]
            and primary["Replicas"][0].get("KMSMasterKeyId") == keys["us-west-2"]
            and replica["SSEDescription"]["KMSMasterKeyArn"] == keys["us-west-2"]
            and replica["Replicas"][0].get("KMSMasterKeyId") == keys["us-east-1"]
        )

    holds_only_when_patched(probe)


def create_check(client: Clients, **config: Any) -> dict[str, Any]:
    route53 = client("route53")
    created = route53.create_health_check(CallerReference=uuid.uuid4().hex, HealthCheckConfig=config)["HealthCheck"]
    return dict(route53.get_health_check(HealthCheckId=created["Id"])["HealthCheck"]["HealthCheckConfig"])


def test_calculated_check_keeps_its_children(holds_only_when_patched: Callable[[Probe], None]) -> None:
    children = ["11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"]

    def probe(client: Clients) -> bool:
        config = create_check(client, Type="CALCULATED", HealthThreshold=2, ChildHealthChecks=children)
        return bool(config["ChildHealthChecks"] == children)

    holds_only_when_patched(probe)


def test_inverted_check_is_read_back_as_inverted(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        config = create_check(
            client, Type="HTTPS", FullyQualifiedDomainName="a.example", Port=443, Inverted=True, EnableSNI=True
        )
        return config["Inverted"] is True and config["EnableSNI"] is True

    holds_only_when_patched(probe)


def test_get_dnssec_reports_not_signing(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        route53 = client("route53")
        zone = route53.create_hosted_zone(Name="clinic.example", CallerReference=uuid.uuid4().hex)["HostedZone"]
        try:
            status = route53.get_dnssec(HostedZoneId=zone["Id"])["Status"]
        except ClientError:
            return False
        return bool(status["ServeSignature"] == "NOT_SIGNING")

    holds_only_when_patched(probe)


def test_get_dnssec_of_unknown_zone_is_rejected(patched: Clients) -> None:
    with pytest.raises(ClientError, match="NoSuchHostedZone"):
        patched("route53").get_dnssec(HostedZoneId="Z0123456789ABC")


def test_list_tags_for_resources_returns_tags_of_each_check(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        route53, ids = client("route53"), []
        for number in range(2):
            made = route53.create_health_check(
                CallerReference=uuid.uuid4().hex,
                HealthCheckConfig={"Type": "HTTPS", "FullyQualifiedDomainName": "a.example", "Port": 443},
            )["HealthCheck"]["Id"]
            tag = {"Key": "Name", "Value": f"check-{number}"}
            route53.change_tags_for_resource(ResourceType="healthcheck", ResourceId=made, AddTags=[tag])
            ids.append(made)
        try:
            found = route53.list_tags_for_resources(ResourceType="healthcheck", ResourceIds=ids)["ResourceTagSets"]
        except ClientError:
            return False
        names = {tagged["ResourceId"]: tagged["Tags"] for tagged in found}
        return names == {id: [{"Key": "Name", "Value": f"check-{number}"}] for number, id in enumerate(ids)}

    holds_only_when_patched(probe)


def test_tags_of_unknown_health_check_are_rejected(patched: Clients) -> None:
    with pytest.raises(ClientError, match="NoSuchHealthCheck"):
        patched("route53").list_tags_for_resources(ResourceType="healthcheck", ResourceIds=[str(uuid.uuid4())])


def test_jwt_authorizer_has_no_lambda_authorizer_members(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        apis = client("apigatewayv2")
        api = apis.create_api(Name="api", ProtocolType="HTTP")["ApiId"]
        created = apis.create_authorizer(
            ApiId=api,
            AuthorizerType="JWT",
            Name="jwt",
            IdentitySource=["$request.header.Authorization"],
            JwtConfiguration={"Audience": ["a"], "Issuer": "https://issuer.example"},
        )
        found = apis.get_authorizer(ApiId=api, AuthorizerId=created["AuthorizerId"])
        members = {"AuthorizerPayloadFormatVersion", "EnableSimpleResponses", "AuthorizerResultTtlInSeconds"}
        return not members & (set(created) | set(found)) and found["JwtConfiguration"]["Audience"] == ["a"]

    holds_only_when_patched(probe)

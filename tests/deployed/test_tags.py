"""Both tags on every resource that supports tags, read from each service, replicas included."""

from typing import Any

import pytest

from support.platform import REGIONS, Deployed

EXPECTED = {"Environment": "Production", "DisasterRecovery": "Enabled"}


def as_dict(tags: Any) -> dict[str, str]:
    if isinstance(tags, dict):
        return tags
    return {tag.get("Key", tag.get("TagKey")): tag.get("Value", tag.get("TagValue")) for tag in tags}


def tags_of(deployed: Deployed, region: str) -> dict[str, dict[str, str]]:
    """Return the tags of one resource of each service, by its name or kind."""
    names, account = deployed.names, deployed.account()
    outputs = deployed.outputs()
    role = "Primary" if region == REGIONS[0] else "Secondary"

    def client(service: str) -> Any:
        return deployed.client(service, region)

    def arn(service: str, resource: str) -> str:
        return f"arn:aws:{service}:{region}:{account}:{resource}"

    found: dict[str, Any] = {}
    for table in (names.records_table, names.audit_table):
        found[table] = client("dynamodb").list_tags_of_resource(ResourceArn=arn("dynamodb", f"table/{table}"))["Tags"]
    for bucket in (deployed.bucket(region), names.trail_bucket(account, region)):
        found[bucket] = client("s3").get_bucket_tagging(Bucket=bucket)["TagSet"]
    found["key"] = client("kms").list_resource_tags(KeyId=outputs[f"{role}KeyArn"])["Tags"]
    found["topic"] = client("sns").list_tags_for_resource(ResourceArn=outputs[f"{role}TopicArn"])["Tags"]
    function = arn("lambda", f"function:{names.of('patient-api')}")
    found["function"] = client("lambda").list_tags(Resource=function)["Tags"]
    found["http api"] = client("apigatewayv2").get_api(ApiId=outputs[f"{role}ApiId"])["Tags"]
    found["role"] = client("iam").list_role_tags(RoleName=names.of("patient-api", region))["Tags"]
    for group in ("flow", "access"):
        log_group = arn("logs", f"log-group:{names.log_group(group)}")
        found[f"{group} log"] = client("logs").list_tags_for_resource(resourceArn=log_group)["tags"]
    alarm = arn("cloudwatch", f"alarm:{names.of('api-errors')}")
    found["alarm"] = client("cloudwatch").list_tags_for_resource(ResourceARN=alarm)["Tags"]
    trail = arn("cloudtrail", f"trail/{names.of('data-events')}")
    found["trail"] = client("cloudtrail").list_tags(ResourceIdList=[trail])["ResourceTagList"][0]["TagsList"]
    mine = [{"Name": "vpc-id", "Values": [outputs[f"{role}VpcId"]]}]
    ec2 = client("ec2")
    for kind, items in (
        ("vpc", ec2.describe_vpcs(Filters=mine)["Vpcs"]),
        ("subnet", ec2.describe_subnets(Filters=mine)["Subnets"]),
        ("security group", ec2.describe_security_groups(Filters=mine)["SecurityGroups"]),
        ("flow log", ec2.describe_flow_logs()["FlowLogs"]),
        ("peering", ec2.describe_vpc_peering_connections()["VpcPeeringConnections"]),
    ):
        assert items, kind
        found |= {f"{kind} {number}": item.get("Tags", []) for number, item in enumerate(items)}
    zone = outputs["ZoneId"]
    tagged = client("route53").list_tags_for_resource(ResourceType="hostedzone", ResourceId=zone)
    found["zone"] = tagged["ResourceTagSet"]["Tags"]
    return {name: as_dict(tags) for name, tags in found.items()}


@pytest.mark.requirement("R9.1")
@pytest.mark.trap(6)
def test_every_resource_has_both_tags(deployed: Deployed, region: str) -> None:
    untagged = {name: tags for name, tags in tags_of(deployed, region).items() if not EXPECTED.items() <= tags.items()}
    assert untagged == {}

"""Tests of flow logs, security groups and peering connections, which Terraform reads back."""

import uuid

from unit.emulator.aws import ACCOUNT, EAST, WEST, Aws, error_code, only_when_patched

TAGS = [{"Key": "Environment", "Value": "Production"}]


def vpc_of(aws: Aws) -> str:
    return str(aws("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"])


def security_group(aws: Aws) -> str:
    group = aws("ec2").create_security_group(GroupName=uuid.uuid4().hex, Description="d", VpcId=vpc_of(aws))
    return str(group["GroupId"])


@only_when_patched
def test_flow_log_keeps_role_interval_format_and_tags(aws: Aws) -> bool:
    role = f"arn:aws:iam::{ACCOUNT}:role/flow-logs"
    created = aws("ec2").create_flow_logs(
        ResourceIds=[vpc_of(aws)],
        ResourceType="VPC",
        TrafficType="ALL",
        LogGroupName="flow",
        DeliverLogsPermissionArn=role,
        MaxAggregationInterval=60,
        TagSpecifications=[{"ResourceType": "vpc-flow-log", "Tags": TAGS}],
    )
    (found,) = aws("ec2").describe_flow_logs(FlowLogIds=created["FlowLogIds"])["FlowLogs"]
    return (
        found.get("DeliverLogsPermissionArn") == role
        and found.get("MaxAggregationInterval") == 60
        and "${srcaddr}" in found.get("LogFormat", "")
        and found.get("Tags") == TAGS
    )


@only_when_patched
def test_rule_for_all_protocols_has_no_ports(aws: Aws) -> bool:
    permission = {"IpProtocol": "-1", "FromPort": 0, "ToPort": 0, "IpRanges": [{"CidrIp": "10.1.0.0/16"}]}
    group = security_group(aws)
    aws("ec2").authorize_security_group_egress(GroupId=group, IpPermissions=[permission])
    (found,) = aws("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return not any("FromPort" in rule for rule in found["IpPermissionsEgress"])


@only_when_patched
def test_default_egress_rule_keeps_its_tags(aws: Aws) -> bool:
    group = security_group(aws)
    aws("ec2").authorize_security_group_egress(
        GroupId=group,
        IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": TAGS}],
    )
    filters = [{"Name": "group-id", "Values": [group]}]
    (found,) = aws("ec2").describe_security_group_rules(Filters=filters)["SecurityGroupRules"]
    return bool(found.get("Tags") == TAGS)


@only_when_patched
def test_peering_options_are_stored_per_side(aws: Aws) -> bool:
    near, far = aws("ec2", EAST), aws("ec2", WEST)
    peer = far.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    connection = near.create_vpc_peering_connection(VpcId=vpc_of(aws), PeerVpcId=peer, PeerRegion=WEST)
    name = connection["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    modified = {"RequesterPeeringConnectionOptions": {"AllowDnsResolutionFromRemoteVpc": True}}
    refused = error_code(near.modify_vpc_peering_connection_options, VpcPeeringConnectionId=name, **modified)
    if refused != "OperationNotPermitted":
        return False
    far.accept_vpc_peering_connection(VpcPeeringConnectionId=name)
    if error_code(near.modify_vpc_peering_connection_options, VpcPeeringConnectionId=name, **modified):
        return False
    seen = []
    for side in (near, far):
        (found,) = side.describe_vpc_peering_connections(VpcPeeringConnectionIds=[name])["VpcPeeringConnections"]
        for info in ("RequesterVpcInfo", "AccepterVpcInfo"):
            seen.append(found[info]["PeeringOptions"]["AllowDnsResolutionFromRemoteVpc"])
    return seen == [True, False, True, False]

"""Patch EC2: flow logs, security groups and VPC peering connections."""

import re
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import ec2

from healthcare_dr.emulator.patches.replacement import Operation, Response, replaces

Parameters = dict[str, Any]

# The defaults of CreateFlowLogs.
DEFAULT_FORMAT = (
    "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${packets} "
    "${bytes} ${start} ${end} ${action} ${log-status}"
)
DEFAULT_INTERVAL_SECONDS = "600"
ALL_PROTOCOLS = "-1"


SIDES = ("Requester", "Accepter")
DNS = "AllowDnsResolutionFromRemoteVpc"
CONNECTION = re.compile(
    r"(?P<id><vpcPeeringConnectionId>(?P<name>pcx-\w+)</vpcPeeringConnectionId>.*?)</requesterVpcInfo>"
    r"(?P<between>.*?)</accepterVpcInfo>",
    re.DOTALL,
)


def keep_flow_log_members() -> None:
    """Flow logs lost their IAM role, aggregation interval, format and tags, so every plan replaced them."""
    create_inner: Operation = ec2._create_flow_logs
    describe_inner: Operation = ec2._describe_flow_logs

    def create(params: Parameters) -> Response:
        response = create_inner(params)
        for identifier in re.findall(r"<item>(fl-\w+)</item>", response[2].decode()):
            ec2._flow_logs[identifier].update(
                DeliverLogsPermissionArn=ec2._p(params, "DeliverLogsPermissionArn"),
                MaxAggregationInterval=ec2._p(params, "MaxAggregationInterval") or DEFAULT_INTERVAL_SECONDS,
                LogFormat=ec2._p(params, "LogFormat") or DEFAULT_FORMAT,
            )
            ec2._parse_tag_specs(params, "vpc-flow-log", identifier)
        return response

    def describe(params: Parameters) -> Response:
        status, headers, body = describe_inner(params)
        text = re.sub(r"<flowLogId>(fl-\w+)</flowLogId>", _complete, body.decode())
        return status, headers, text.encode()

    def _complete(identifier: re.Match[str]) -> str:
        record = ec2._flow_logs[identifier[1]]
        members = {
            "deliverLogsPermissionArn": record.get("DeliverLogsPermissionArn"),
            "deliverLogsStatus": "SUCCESS",
            "logFormat": record.get("LogFormat", DEFAULT_FORMAT),
            "maxAggregationInterval": record.get("MaxAggregationInterval", DEFAULT_INTERVAL_SECONDS),
        }
        return identifier[0] + "".join(f"<{k}>{escape(v)}</{k}>" for k, v in members.items() if v)

    ec2._ACTION_MAP.update(CreateFlowLogs=create, DescribeFlowLogs=describe)


@replaces(ec2, "_parse_ip_permissions")
def drop_ports_of_all_protocol_rules(
    inner: Callable[..., list[dict[str, Any]]], params: Parameters, prefix: str
) -> list[dict[str, Any]]:
    """A rule for all protocols kept the ports 0 and 0 of its request. AWS keeps none, so security groups differed in
    plans.
    """
    rules = inner(params, prefix)
    for rule in rules:
        if rule["IpProtocol"] == ALL_PROTOCOLS:
            rule.pop("FromPort", None)
            rule.pop("ToPort", None)
    return rules


@replaces(ec2._ACTION_MAP, "AuthorizeSecurityGroupEgress")
def tag_default_egress_rule(inner: Operation, params: Parameters) -> Response:
    """Declaring the default egress rule of a new group lost the rule's tags."""
    response = inner(params)
    if tags := ec2._sg_rule_tag_specifications(params):
        for rule in re.findall(r"<securityGroupRuleId>([^<]+)<", response[2].decode()):
            if not ec2._tags.get(rule):
                ec2._tags[rule] = list(tags)
    return response


def store_peering_options() -> None:
    """ModifyVpcPeeringConnectionOptions did not exist, so names could not be resolved over a peering connection.

    Like AWS, it refuses a connection that is not active, which a configuration without an order would not survive.
    """
    describe_inner: Operation = ec2._describe_vpc_peering_connections

    def modify(params: Parameters) -> Response:
        name = ec2._p(params, "VpcPeeringConnectionId")
        problem = None
        if name not in ec2._vpc_peering:
            problem = "InvalidVpcPeeringConnectionID.NotFound", f"The VPC peering connection '{name}' does not exist"
        elif ec2._vpc_peering[name]["Status"]["Code"] != "active":
            limit = "Peering options can be added only to active peerings."
            problem = "OperationNotPermitted", f"Peering {name} is not active. {limit}"
        if problem is not None:
            result: Response = ec2._error(*problem, 400)
            return result
        requested = {side: ec2._p(params, f"{side}PeeringConnectionOptions.{DNS}") for side in SIDES}
        for account, region in ec2._vpc_peering_scopes(ec2._vpc_peering[name]):
            record = ec2._vpc_peering.get_scoped(account, region, name)
            for side, value in requested.items():
                if record is not None and value:
                    record[f"{side}VpcInfo"][DNS] = value
        response: Response = ec2._xml(200, "ModifyVpcPeeringConnectionOptionsResponse", _options_of_both_sides(name))
        return response

    def describe(params: Parameters) -> Response:
        status, headers, body = describe_inner(params)
        return status, headers, CONNECTION.sub(_with_options, body.decode()).encode()

    ec2._ACTION_MAP["ModifyVpcPeeringConnectionOptions"] = modify
    ec2._ACTION_MAP["DescribeVpcPeeringConnections"] = describe


def _with_options(found: re.Match[str]) -> str:
    requester, accepter = (f"<peeringOptions>{_option(found['name'], side)}</peeringOptions>" for side in SIDES)
    return f"{found['id']}{requester}</requesterVpcInfo>{found['between']}{accepter}</accepterVpcInfo>"


def _options_of_both_sides(name: str) -> str:
    tags = {side: f"{side.lower()}PeeringConnectionOptions" for side in SIDES}
    return "".join(f"<{tags[side]}>{_option(name, side)}</{tags[side]}>" for side in SIDES)


def _option(name: str, side: str) -> str:
    value = ec2._vpc_peering[name][f"{side}VpcInfo"].get(DNS, "false")
    return f"<allowDnsResolutionFromRemoteVpc>{value}</allowDnsResolutionFromRemoteVpc>"

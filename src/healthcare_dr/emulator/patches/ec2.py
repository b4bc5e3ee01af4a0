"""EC2: flow logs and security groups."""

import re
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import ec2

Parameters = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

# What AWS takes when CreateFlowLogs names no format or interval.
DEFAULT_FORMAT = (
    "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${packets} "
    "${bytes} ${start} ${end} ${action} ${log-status}"
)
DEFAULT_INTERVAL_SECONDS = "600"
ALL_PROTOCOLS = "-1"


def _replace_action(action: str, function: str, replacement: Callable[[Parameters], Response]) -> None:
    setattr(ec2, function, replacement)
    ec2._ACTION_MAP[action] = replacement


def keep_all_of_a_flow_log() -> None:
    """Flow logs forgot their IAM role, aggregation interval, format and tags, so every plan replaced them."""
    create_inner, describe_inner = ec2._create_flow_logs, ec2._describe_flow_logs

    def create(params: Parameters) -> Response:
        response: Response = create_inner(params)
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

    _replace_action("CreateFlowLogs", "_create_flow_logs", create)
    _replace_action("DescribeFlowLogs", "_describe_flow_logs", describe)


def keep_no_ports_for_all_protocols() -> None:
    """A rule for all protocols kept the ports 0 and 0 it was sent with, where AWS keeps none: groups differed."""
    inner = ec2._parse_ip_permissions

    def parse(params: Parameters, prefix: str) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = inner(params, prefix)
        for rule in rules:
            if rule["IpProtocol"] == ALL_PROTOCOLS:
                rule.pop("FromPort", None)
                rule.pop("ToPort", None)
        return rules

    ec2._parse_ip_permissions = parse


def tag_the_default_egress_rule() -> None:
    """Declaring the egress rule that every new group has by default lost the tags it was declared with."""
    inner = ec2._authorize_sg_egress

    def authorize(params: Parameters) -> Response:
        response: Response = inner(params)
        if tags := ec2._sg_rule_tag_specifications(params):
            for rule in re.findall(r"<securityGroupRuleId>([^<]+)<", response[2].decode()):
                if not ec2._tags.get(rule):
                    ec2._tags[rule] = list(tags)
        return response

    _replace_action("AuthorizeSecurityGroupEgress", "_authorize_sg_egress", authorize)

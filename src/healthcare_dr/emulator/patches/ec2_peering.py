"""EC2: options of a VPC peering connection."""

import re
from typing import Any

from ministack.services import ec2

Parameters = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

SIDES = ("Requester", "Accepter")
DNS = "AllowDnsResolutionFromRemoteVpc"
CONNECTION = re.compile(
    r"(?P<id><vpcPeeringConnectionId>(?P<name>pcx-\w+)</vpcPeeringConnectionId>.*?)</requesterVpcInfo>"
    r"(?P<between>.*?)</accepterVpcInfo>",
    re.DOTALL,
)


def keep_peering_options() -> None:
    """ModifyVpcPeeringConnectionOptions was unknown, so names could not be resolved over a peering."""
    describe_inner = ec2._describe_vpc_peering_connections

    def modify(params: Parameters) -> Response:
        name = ec2._p(params, "VpcPeeringConnectionId")
        if name not in ec2._vpc_peering:
            missing: Response = ec2._error(
                "InvalidVpcPeeringConnectionID.NotFound", f"The VPC peering connection '{name}' does not exist", 400
            )
            return missing
        asked = {side: ec2._p(params, f"{side}PeeringConnectionOptions.{DNS}") for side in SIDES}
        for account, region in ec2._vpc_peering_scopes(ec2._vpc_peering[name]):
            record = ec2._vpc_peering.get_scoped(account, region, name)
            for side, value in asked.items():
                if record is not None and value:
                    record[f"{side}VpcInfo"][DNS] = value
        answer: Response = ec2._xml(200, "ModifyVpcPeeringConnectionOptionsResponse", _both(name))
        return answer

    def describe(params: Parameters) -> Response:
        status, headers, body = describe_inner(params)
        return status, headers, CONNECTION.sub(_with_options, body.decode()).encode()

    ec2._ACTION_MAP["ModifyVpcPeeringConnectionOptions"] = modify
    ec2._ACTION_MAP["DescribeVpcPeeringConnections"] = ec2._describe_vpc_peering_connections = describe


def _with_options(found: re.Match[str]) -> str:
    requester, accepter = (f"<peeringOptions>{_option(found['name'], side)}</peeringOptions>" for side in SIDES)
    return f"{found['id']}{requester}</requesterVpcInfo>{found['between']}{accepter}</accepterVpcInfo>"


def _both(name: str) -> str:
    tags = {side: f"{side.lower()}PeeringConnectionOptions" for side in SIDES}
    return "".join(f"<{tags[side]}>{_option(name, side)}</{tags[side]}>" for side in SIDES)


def _option(name: str, side: str) -> str:
    value = ec2._vpc_peering[name][f"{side}VpcInfo"].get(DNS, "false")
    return f"<allowDnsResolutionFromRemoteVpc>{value}</allowDnsResolutionFromRemoteVpc>"

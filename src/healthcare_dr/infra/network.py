"""The VPC of a region: three zones, subnets, gateway endpoints, security groups, flow logs and the peering.

The Lambda functions use managed AWS services only and stay outside the VPC (R2.5). The network is for data services
that need one.
"""

from dataclasses import dataclass
from typing import Any

from cdktn import Fn
from cdktn_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from cdktn_provider_aws.data_aws_availability_zones import (
    DataAwsAvailabilityZones,
    DataAwsAvailabilityZonesFilter,
)
from cdktn_provider_aws.data_aws_route_table import DataAwsRouteTable
from cdktn_provider_aws.data_aws_vpc import DataAwsVpc
from cdktn_provider_aws.default_security_group import DefaultSecurityGroup
from cdktn_provider_aws.flow_log import FlowLog
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy import IamRolePolicy
from cdktn_provider_aws.internet_gateway import InternetGateway
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.route import Route
from cdktn_provider_aws.route_table import RouteTable
from cdktn_provider_aws.route_table_association import RouteTableAssociation
from cdktn_provider_aws.security_group import SecurityGroup
from cdktn_provider_aws.subnet import Subnet
from cdktn_provider_aws.vpc import Vpc
from cdktn_provider_aws.vpc_endpoint import VpcEndpoint
from cdktn_provider_aws.vpc_peering_connection import VpcPeeringConnection
from cdktn_provider_aws.vpc_peering_connection_accepter import VpcPeeringConnectionAccepterA
from cdktn_provider_aws.vpc_peering_connection_options import (
    VpcPeeringConnectionOptions,
    VpcPeeringConnectionOptionsAccepter,
    VpcPeeringConnectionOptionsRequester,
)
from cdktn_provider_aws.vpc_security_group_egress_rule import VpcSecurityGroupEgressRule
from cdktn_provider_aws.vpc_security_group_ingress_rule import VpcSecurityGroupIngressRule

from healthcare_dr.infra import policy
from healthcare_dr.infra.region_context import RegionContext, Sites

TIERS = ("public", "private")
NETWORK_TAG = "Network"  # of subnets; its value is the name of their VPC
ZONES = 3
HTTPS = 443
ANYWHERE = "0.0.0.0/0"
SUBNET_BITS = 4  # sixteen subnets in a network, of which six are used


@dataclass(frozen=True)
class Network:
    """A VPC, its route tables by tier, all of its subnets, and its gateway endpoints."""

    vpc: Vpc
    route_tables: dict[str, RouteTable]
    subnets: tuple[Subnet, ...]
    endpoints: tuple[VpcEndpoint, ...]


def network(site: RegionContext) -> Network:
    """Create the VPC with subnets, routes and gateway endpoints."""
    vpc = Vpc(
        site.stack,
        "vpc",
        cidr_block=str(site.cidr),
        enable_dns_support=True,
        enable_dns_hostnames=True,
        tags={"Name": site.names.of("vpc", site.region)},
    )
    tables = {
        tier: RouteTable(
            site.stack,
            f"{tier}_routes",
            vpc_id=vpc.id,
            tags={"Name": site.names.of(f"{tier}-routes", site.region)},
        )
        for tier in TIERS
    }
    gateway = InternetGateway(
        site.stack, "internet_gateway", vpc_id=vpc.id, tags={"Name": site.names.of("internet", site.region)}
    )
    Route(
        site.stack,
        "internet_route",
        route_table_id=tables["public"].id,
        destination_cidr_block=ANYWHERE,
        gateway_id=gateway.id,
    )
    subnets = _subnets(site, vpc, tables)
    endpoints = tuple(
        VpcEndpoint(
            site.stack,
            f"{service}_endpoint",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{site.region}.{service}",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables.values()],
            tags={"Name": site.names.of(f"{service}-endpoint", site.region)},
        )
        for service in ("s3", "dynamodb")
    )
    return Network(vpc=vpc, route_tables=tables, subnets=subnets, endpoints=endpoints)


def _subnets(site: RegionContext, vpc: Vpc, tables: dict[str, RouteTable]) -> tuple[Subnet, ...]:
    created = []
    zones = DataAwsAvailabilityZones(
        site.stack,
        "zones",
        state="available",
        # Not local and wavelength zones, which lack most services.
        filter=[DataAwsAvailabilityZonesFilter(name="opt-in-status", values=["opt-in-not-required"])],
    )
    blocks = iter(site.cidr.subnets(prefixlen_diff=SUBNET_BITS))
    for tier, table in tables.items():
        for number in range(ZONES):
            subnet = Subnet(
                site.stack,
                f"{tier}_subnet_{number}",
                vpc_id=vpc.id,
                cidr_block=str(next(blocks)),
                availability_zone=Fn.element(zones.names, number),
                map_public_ip_on_launch=False,
                tags={
                    "Name": site.names.of(f"{tier}-{number}", site.region),
                    "Tier": tier,
                    NETWORK_TAG: site.names.of("vpc", site.region),
                },
            )
            RouteTableAssociation(
                site.stack, f"{tier}_association_{number}", subnet_id=subnet.id, route_table_id=table.id
            )
            created.append(subnet)
    return tuple(created)


def security_groups(site: RegionContext, vpc: Vpc) -> dict[str, SecurityGroup]:
    """Create groups for Lambda and for data services, which admit only each other and the peer region."""
    DefaultSecurityGroup(
        site.stack, "default_group", vpc_id=vpc.id, tags={"Name": site.names.of("closed", site.region)}
    )
    groups = {
        name: SecurityGroup(
            site.stack,
            f"{name}_group",
            name=site.names.of(f"{name}-group"),
            description=description,
            vpc_id=vpc.id,
            tags={"Name": site.names.of(f"{name}-group", site.region)},
        )
        for name, description in (
            ("lambda", "Lambda functions that need the network"),
            ("data", "Data services that live in the network"),
        )
    }
    for name, other in (("lambda", "data"), ("data", "lambda")):
        peer_vpc, peer_cidr = f"VPC of {site.peer_region}", str(site.peer_cidr)
        other_id = groups[other].id
        _both_ways(site, f"{name}_{other}", groups[name], f"{other} group", referenced_security_group_id=other_id)
        _both_ways(site, f"{name}_peer", groups[name], peer_vpc, cidr_ipv4=peer_cidr)
    return groups


def _both_ways(site: RegionContext, name: str, group: SecurityGroup, other: str, **admitted: Any) -> None:
    for rule, preposition in ((VpcSecurityGroupIngressRule, "from"), (VpcSecurityGroupEgressRule, "to")):
        rule(
            site.stack,
            f"{name}_{preposition}",
            security_group_id=group.id,
            description=f"HTTPS {preposition} the {other}",
            ip_protocol="tcp",
            from_port=HTTPS,
            to_port=HTTPS,
            **admitted,
        )


def flow_logs(site: RegionContext, vpc: Vpc, key: KmsKey) -> None:
    """Log every flow of the VPC, encrypted, with the retention of the audit trail."""
    group = CloudwatchLogGroup(
        site.stack,
        "flow_log_group",
        name=site.names.log_group("flow"),
        retention_in_days=site.settings.audit_retention_days,
        kms_key_id=key.arn,
    )
    role = IamRole(
        site.stack,
        "flow_log_role",
        name=site.names.of("flow-logs", site.region),
        assume_role_policy=policy.trust_service("vpc-flow-logs.amazonaws.com", account=site.account),
    )
    IamRolePolicy(
        site.stack,
        "flow_log_policy",
        name=site.names.of("flow-logs"),
        role=role.name,
        policy=policy.document(
            policy.allow(
                "WriteFlowLogs",
                ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
                (group.arn, f"{group.arn}:*"),
            ),
            policy.allow("FindLogGroups", ["logs:DescribeLogGroups"], "*"),
        ),
    )
    FlowLog(
        site.stack,
        "flow_log",
        vpc_id=vpc.id,
        traffic_type="ALL",
        log_destination_type="cloud-watch-logs",
        log_destination=group.arn,
        iam_role_arn=role.arn,
        max_aggregation_interval=60,
        tags={"Name": site.names.of("flow", site.region)},
    )


def peer(sites: Sites) -> None:
    """Connect both VPCs, resolve each other's names to private addresses, and route both ways."""
    requester, accepter = sites
    vpcs = {
        site.role: DataAwsVpc(
            requester.stack,
            f"vpc_{site.role}",
            tags={"Name": site.names.of("vpc", site.region)},
            provider=site.provider,
        )
        for site in sites
    }
    name = requester.names.of("peering")
    connection = VpcPeeringConnection(
        requester.stack,
        "peering",
        vpc_id=vpcs["primary"].id,
        peer_vpc_id=vpcs["secondary"].id,
        peer_region=accepter.region,
        auto_accept=False,
        tags={"Name": name, "Side": "requester"},
        provider=requester.provider,
    )
    accepted = VpcPeeringConnectionAccepterA(
        requester.stack,
        "peering_accepter",
        vpc_peering_connection_id=connection.id,
        auto_accept=True,
        tags={"Name": name, "Side": "accepter"},
        provider=accepter.provider,
    )
    VpcPeeringConnectionOptions(
        requester.stack,
        "peering_dns_requester",
        vpc_peering_connection_id=accepted.id,
        requester=VpcPeeringConnectionOptionsRequester(allow_remote_vpc_dns_resolution=True),
        provider=requester.provider,
    )
    VpcPeeringConnectionOptions(
        requester.stack,
        "peering_dns_accepter",
        vpc_peering_connection_id=accepted.id,
        accepter=VpcPeeringConnectionOptionsAccepter(allow_remote_vpc_dns_resolution=True),
        provider=accepter.provider,
    )
    for site in sites:
        for tier in TIERS:
            table = DataAwsRouteTable(
                requester.stack,
                f"{tier}_routes_{site.role}",
                vpc_id=vpcs[site.role].id,
                tags={"Name": site.names.of(f"{tier}-routes", site.region)},
                provider=site.provider,
            )
            Route(
                requester.stack,
                f"peering_route_{site.role}_{tier}",
                route_table_id=table.id,
                destination_cidr_block=str(site.peer_cidr),
                vpc_peering_connection_id=accepted.id,
                provider=site.provider,
            )

"""The VPC of a region: three zones, private and public subnets, gateway endpoints, security groups, flow logs.

The Lambda functions use managed AWS services only and stay outside it (R2.5); the network is where data services that
need one are placed, ready on both sides and peered.
"""

from dataclasses import dataclass

from cdktn import Fn, TerraformStack
from cdktn_provider_aws.data_aws_availability_zones import (
    DataAwsAvailabilityZones,
    DataAwsAvailabilityZonesFilter,
)
from cdktn_provider_aws.internet_gateway import InternetGateway
from cdktn_provider_aws.route import Route
from cdktn_provider_aws.route_table import RouteTable
from cdktn_provider_aws.route_table_association import RouteTableAssociation
from cdktn_provider_aws.subnet import Subnet
from cdktn_provider_aws.vpc import Vpc
from cdktn_provider_aws.vpc_endpoint import VpcEndpoint

from healthcare_dr.infra.site import Site

ZONES = 3
ANYWHERE = "0.0.0.0/0"
SUBNET_BITS = 4  # sixteen subnets in a network, of which six are used


@dataclass(frozen=True)
class Network:
    """A VPC, its route tables by tier, all of its subnets, and its gateway endpoints."""

    vpc: Vpc
    route_tables: dict[str, RouteTable]
    subnets: tuple[Subnet, ...]
    endpoints: tuple[VpcEndpoint, ...]


def network(stack: TerraformStack, site: Site) -> Network:
    """The VPC with subnets, routes and gateway endpoints."""
    vpc = Vpc(
        stack,
        "vpc",
        cidr_block=str(site.cidr),
        enable_dns_support=True,
        enable_dns_hostnames=True,
        tags={"Name": site.names.of("vpc", site.region)},
    )
    tables = {
        tier: RouteTable(
            stack,
            f"{tier}_routes",
            vpc_id=vpc.id,
            tags={"Name": site.names.of(f"{tier}-routes", site.region)},
        )
        for tier in ("public", "private")
    }
    gateway = InternetGateway(
        stack, "internet_gateway", vpc_id=vpc.id, tags={"Name": site.names.of("internet", site.region)}
    )
    Route(
        stack,
        "internet_route",
        route_table_id=tables["public"].id,
        destination_cidr_block=ANYWHERE,
        gateway_id=gateway.id,
    )
    subnets = _subnets(stack, site, vpc, tables)
    endpoints = tuple(
        VpcEndpoint(
            stack,
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


def _subnets(stack: TerraformStack, site: Site, vpc: Vpc, tables: dict[str, RouteTable]) -> tuple[Subnet, ...]:
    made = []
    zones = DataAwsAvailabilityZones(
        stack,
        "zones",
        state="available",
        # Local and wavelength zones are zones too, but not ones to place a replica in.
        filter=[DataAwsAvailabilityZonesFilter(name="opt-in-status", values=["opt-in-not-required"])],
    )
    blocks = iter(site.cidr.subnets(prefixlen_diff=SUBNET_BITS))
    for tier, table in tables.items():
        for number in range(ZONES):
            subnet = Subnet(
                stack,
                f"{tier}_subnet_{number}",
                vpc_id=vpc.id,
                cidr_block=str(next(blocks)),
                availability_zone=Fn.element(zones.names, number),
                map_public_ip_on_launch=False,
                tags={"Name": site.names.of(f"{tier}-{number}", site.region), "Tier": tier},
            )
            RouteTableAssociation(stack, f"{tier}_association_{number}", subnet_id=subnet.id, route_table_id=table.id)
            made.append(subnet)
    return tuple(made)

"""The private link between both VPCs: requester, accepter, and a route on each side."""

from dataclasses import dataclass

from cdktn import TerraformStack
from cdktn_provider_aws.data_aws_route_table import DataAwsRouteTable
from cdktn_provider_aws.data_aws_vpc import DataAwsVpc
from cdktn_provider_aws.route import Route
from cdktn_provider_aws.vpc_peering_connection import VpcPeeringConnection
from cdktn_provider_aws.vpc_peering_connection_accepter import VpcPeeringConnectionAccepterA
from cdktn_provider_aws.vpc_peering_connection_options import (
    VpcPeeringConnectionOptions,
    VpcPeeringConnectionOptionsAccepter,
    VpcPeeringConnectionOptionsRequester,
)

from healthcare_dr.infra.site import Site

TIERS = ("public", "private")


@dataclass(frozen=True)
class _Side:
    vpc_id: str
    route_table_ids: dict[str, str]


def peer(stack: TerraformStack, sites: tuple[Site, Site]) -> None:
    """Connect both VPCs, resolve each other's names to private addresses, and route both ways."""
    requester, accepter = sites
    near, far = _look_up(stack, requester), _look_up(stack, accepter)
    name = requester.names.of("peering")
    connection = VpcPeeringConnection(
        stack,
        "peering",
        vpc_id=near.vpc_id,
        peer_vpc_id=far.vpc_id,
        peer_region=accepter.region,
        auto_accept=False,
        tags={"Name": name, "Side": "requester"},
        provider=requester.provider,
    )
    accepted = VpcPeeringConnectionAccepterA(
        stack,
        "peering_accepter",
        vpc_peering_connection_id=connection.id,
        auto_accept=True,
        tags={"Name": name, "Side": "accepter"},
        provider=accepter.provider,
    )
    VpcPeeringConnectionOptions(
        stack,
        "peering_dns_requester",
        vpc_peering_connection_id=accepted.id,
        requester=VpcPeeringConnectionOptionsRequester(allow_remote_vpc_dns_resolution=True),
        provider=requester.provider,
    )
    VpcPeeringConnectionOptions(
        stack,
        "peering_dns_accepter",
        vpc_peering_connection_id=accepted.id,
        accepter=VpcPeeringConnectionOptionsAccepter(allow_remote_vpc_dns_resolution=True),
        provider=accepter.provider,
    )
    for site, side in ((requester, near), (accepter, far)):
        for tier, table_id in side.route_table_ids.items():
            Route(
                stack,
                f"peering_route_{site.role}_{tier}",
                route_table_id=table_id,
                destination_cidr_block=str(site.peer_cidr),
                vpc_peering_connection_id=accepted.id,
                provider=site.provider,
            )


def _look_up(stack: TerraformStack, site: Site) -> _Side:
    vpc = DataAwsVpc(
        stack,
        f"vpc_{site.role}",
        tags={"Name": site.names.of("vpc", site.region)},
        provider=site.provider,
    )
    tables = {
        tier: DataAwsRouteTable(
            stack,
            f"{tier}_routes_{site.role}",
            vpc_id=vpc.id,
            tags={"Name": site.names.of(f"{tier}-routes", site.region)},
            provider=site.provider,
        ).id
        for tier in TIERS
    }
    return _Side(vpc_id=vpc.id, route_table_ids=tables)

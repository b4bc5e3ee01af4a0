"""Rules on networks and the link between them."""

from collections.abc import Iterable
from ipaddress import ip_network
from itertools import product

from healthcare_dr.infra.lint.model import Platform, Problems, rule

ANYWHERE = "0.0.0.0/0"
INGRESS, EGRESS = "aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule"
SOURCES = ("cidr_ipv4", "cidr_ipv6", "prefix_list_id", "referenced_security_group_id")


@rule("R8.1")
def network_zones(platform: Platform) -> Problems:
    """Three zones keep a region's data services alive through the loss of one."""
    for region in platform.settings.regions:
        for tier in ("public", "private"):
            found = {
                subnet.get("availability_zone")
                for subnet in platform.resources("aws_subnet", region=region)
                if (subnet.get("tags") or {}).get("Tier") == tier
            }
            if len(found) != 3:
                yield region, f"must have {tier} subnets in three zones; it has {len(found)}"
        services = {
            str(endpoint.get("service_name")).rpartition(".")[2]
            for endpoint in platform.resources("aws_vpc_endpoint", region=region)
            if endpoint.get("vpc_endpoint_type") == "Gateway"
        }
        if services != {"s3", "dynamodb"}:
            yield region, "must have gateway endpoints for S3 and DynamoDB"


@rule("R8.3", "D4")
def routes_explicit(platform: Platform) -> Problems:
    """A route without a destination is refused."""
    for route in platform.resources("aws_route"):
        destination = route.get("destination_cidr_block")
        if not destination:
            yield route.address, "destination_cidr_block is missing"
        elif route.get("gateway_id") and destination != ANYWHERE:
            yield route.address, f"the internet gateway's route must be {ANYWHERE}"
    for table in platform.resources("aws_route_table"):
        for inline in table.blocks("route"):
            if not inline.get("cidr_block"):
                yield table.address, "an inline route lacks its destination"


@rule("R8.1", "trap 35")
def peering_routes(platform: Platform) -> Problems:
    """Peering needs an accepter, routes on both sides, and networks that do not overlap."""
    if len(list(platform.resources("aws_vpc_peering_connection_accepter"))) != 1:
        yield "aws_vpc_peering_connection_accepter", "the peering must be accepted"
    resolving = {
        side
        for options in platform.resources("aws_vpc_peering_connection_options")
        for side in ("requester", "accepter")
        if options.get(side, "allow_remote_vpc_dns_resolution") is True
    }
    if len(resolving) != 2:
        yield "aws_vpc_peering_connection_options", "each side must resolve the other's private names"
    networks = {vpc.region: ip_network(str(vpc.get("cidr_block"))) for vpc in platform.resources("aws_vpc")}
    if set(networks) != set(platform.settings.regions):
        yield "aws_vpc", "each region must have a VPC"
        return
    here, there = (networks[region] for region in platform.settings.regions)
    if here.overlaps(there):
        yield "aws_vpc", f"{here} and {there} overlap"
    for region in platform.settings.regions:
        destinations = [
            route.get("destination_cidr_block")
            for route in platform.resources("aws_route", region=region)
            if route.get("vpc_peering_connection_id")
        ]
        if destinations != [str(networks[platform.other(region)])] * 2:
            yield region, "public and private route tables must lead to the peer's network"


@rule("R8.2", "C6")
def security_groups(platform: Platform) -> Problems:
    """Data services admit the API and the peer region only."""
    peers = {
        platform.settings.primary_region: str(platform.settings.secondary_cidr),
        platform.settings.secondary_region: str(platform.settings.primary_cidr),
    }
    for region in platform.settings.regions:
        groups = list(platform.resources("aws_security_group", region=region))
        if len(groups) != 2:
            yield region, "must have a group for Lambda and one for data services"
        closed = list(platform.resources("aws_default_security_group", region=region))
        if len(closed) != 1 or any(group.get("ingress") or group.get("egress") for group in closed):
            yield region, "the default security group must be emptied"
        for group, kind in product(groups, (INGRESS, EGRESS)):
            expected = {peers[region], *(other.expression("id") for other in groups if other != group)}
            rules = platform.attached(group, kind, "security_group_id")
            admitted = {each.get(source) for each in rules for source in SOURCES} - {None}
            if admitted != expected:
                yield group.address, f"must have rules ({kind}) for {_listing(expected)}; it has {_listing(admitted)}"
    for admission in platform.resources(INGRESS, EGRESS):
        if tuple(admission.get(part) for part in ("ip_protocol", "from_port", "to_port")) != ("tcp", 443, 443):
            yield admission.address, "admits more than HTTPS"
    for vpc in platform.resources("aws_vpc"):
        if not list(platform.attached(vpc, "aws_flow_log", "vpc_id")):
            yield vpc.address, "its flows must be logged"


def _listing(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "none"

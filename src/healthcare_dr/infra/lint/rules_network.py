"""Rules on networks and the link between them."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from itertools import product

from healthcare_dr.infra.lint.model import Platform, rule

Problems = Iterator[tuple[str, str]]
ANYWHERE = "0.0.0.0/0"
INGRESS, EGRESS = "aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule"
SOURCES = ("cidr_ipv4", "cidr_ipv6", "prefix_list_id", "referenced_security_group_id")


@rule("network-zones", "R8.1", why="Three zones keep a region's data services alive through the loss of one.")
def zones(platform: Platform) -> Problems:
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


@rule("routes-explicit", "R8.3", "D4", why="A route without a destination is refused.")
def explicit_routes(platform: Platform) -> Problems:
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


@rule(
    "peering-routes", "R8.1", "trap 35",
    why="Peering carries nothing without an accepter and routes on both sides, and refuses overlapping networks.",
)  # fmt: skip
def peering(platform: Platform) -> Problems:
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


@rule("security-groups", "R8.2", "C6", why="Data services admit the API and the peer region only.")
def security_groups(platform: Platform) -> Problems:
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
            wanted = {peers[region], *(other.expression("id") for other in groups if other != group)}
            rules = platform.of_parent(group, "security_group_id", kind)
            admitted = {rule_.get(source) for rule_ in rules for source in SOURCES} - {None}
            if admitted != wanted:
                yield group.address, f"must have rules ({kind}) for {_listing(wanted)}; it has {_listing(admitted)}"
    for rule_ in platform.resources(INGRESS, EGRESS):
        if rule_.get("ip_protocol") != "tcp" or rule_.get("from_port") != 443 or rule_.get("to_port") != 443:
            yield rule_.address, "admits more than HTTPS"
    for vpc in platform.resources("aws_vpc"):
        if not list(platform.of_parent(vpc, "vpc_id", "aws_flow_log")):
            yield vpc.address, "its flows must be logged"


def _listing(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "none"

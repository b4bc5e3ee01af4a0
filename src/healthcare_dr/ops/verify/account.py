"""Checks of tags, of the state bucket, and of the domain's delegation."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from healthcare_dr.ops.verify.check import CheckRegistry
from healthcare_dr.ops.verify.live_target import GLOBAL_REGION, LiveTarget, UnansweredError

CHECKS = CheckRegistry()
DEPLOY = "run `hdr deploy`, which restores it"
TAGS: Final = {"Environment": "Production", "DisasterRecovery": "Enabled"}
# What holds data or is called, and what the tagging API knows on either target.
TAGGED: Final = ("aws_dynamodb_table", "aws_kms_key", "aws_kms_replica_key", "aws_lambda_function", "aws_s3_bucket",
                 "aws_sns_topic")  # fmt: skip
RENEWAL: Final = timedelta(days=30)

Servers = Callable[[str], Sequence[str]]
"""The name servers to which a domain's parent delegates it; raises OSError when nobody says."""


@CHECKS.each_region(
    "tags", "R9.1", "trap 6",
    asks="Tables with their replicas, buckets, keys, functions and topics carry both tags of the platform",
    why="Backup plans, access rules and cost reports go by tags, and a replica has its own.",
    mend=DEPLOY,
)  # fmt: skip
def tags(live: LiveTarget, region: str) -> Iterator[str]:
    wanted = {resource["arn"] for kind in TAGGED for resource in live.deployed.of(kind, region)}
    # One resource owns each table; its replica is a table of its own.
    wanted |= {
        live.arn("dynamodb", region, f"table/{name}") for name in (live.names.records_table, live.names.audit_table)
    }
    filters = [{"Key": key, "Values": [value]} for key, value in TAGS.items()]
    answer = live.ask("resourcegroupstaggingapi", region, "get_resources", TagFilters=filters)
    tagged = {found["ResourceARN"] for found in answer["ResourceTagMappingList"]}
    for arn in sorted(wanted - tagged):
        yield f"{arn} does not carry {' and '.join(f'{key}={value}' for key, value in TAGS.items())}"


@CHECKS.platform(
    "state", "R1.1", "trap 37",
    asks="On AWS, Terraform's state is in a versioned bucket outside us-east-1",
    why="Without its state, lost with us-east-1 or with one machine, the platform cannot be changed.",
    mend="name a versioned bucket in the state's region as HDR_STATE_BUCKET: README, Deploy to AWS",
)  # fmt: skip
def state(live: LiveTarget, region: str) -> Iterator[str]:
    del region
    if live.target.name != "aws":
        return
    bucket, place = live.settings.state_bucket, live.settings.state_region
    if bucket is None:
        yield "the state is kept on this machine alone: HDR_STATE_BUCKET is not set"
        return
    located = live.ask_for("s3", place, "get_bucket_location", ("NoSuchBucket",), Bucket=bucket)
    if located is None:
        yield f"{bucket} does not exist"
        return
    # us-east-1 is the region that has no name here.
    actual = located.get("LocationConstraint") or "us-east-1"
    if actual != place:
        yield f"{bucket} is in {actual}, not in {place}"
    if live.ask("s3", place, "get_bucket_versioning", Bucket=bucket).get("Status") != "Enabled":
        yield f"{bucket} keeps no versions: a damaged state could not be restored"


@CHECKS.platform(
    "delegation", "R4.3", "trap 30",
    asks="With HDR_DNS_DELEGATED, the parent zone delegates the domain to the name servers of the platform's zone",
    why="Without the delegation no client queries the zone that fails over.",
    mend="have the registrar name the servers that `hdr outputs` shows as NameServers",
)  # fmt: skip
def delegation(live: LiveTarget, region: str) -> Iterator[str]:
    del region
    if live.settings.dns_delegated:
        yield from delegated(live.names.domain, _zone_servers(live), live.name_servers)


@CHECKS.each_region(
    "certificate", "C1", "trap 30", "trap 31",
    asks="Where the domain is delegated, the region has an issued certificate for the shared name, good for 30 days "
    "more, and serves the name with it",
    why="Without a certificate in each region clients meet TLS errors after the failover.",
    mend="check the validation record of the certificate in the zone, then run `hdr deploy`",
)  # fmt: skip
def certificate(live: LiveTarget, region: str) -> Iterator[str]:
    if not live.settings.dns_delegated:
        return
    name = live.names.api_domain
    domain = live.ask_for("apigatewayv2", region, "get_domain_name", ("NotFoundException",), DomainName=name)
    if domain is None:
        yield f"the region does not serve {name}"
        return
    for configuration in domain["DomainNameConfigurations"]:
        arn = configuration["CertificateArn"]
        found = live.ask_for("acm", region, "describe_certificate", ("ResourceNotFoundException",), CertificateArn=arn)
        said: dict[str, Any] = found["Certificate"] if found else {"Status": "missing"}
        ends = said.get("NotAfter")
        if said["Status"] != "ISSUED":
            yield f"the certificate of {name} is {said['Status']}"
        elif name not in [said.get("DomainName"), *said.get("SubjectAlternativeNames", ())]:
            yield f"the certificate is for {said.get('DomainName')}, not {name}"
        elif ends is not None and ends - live.now() < RENEWAL:
            yield f"the certificate of {name} ends on {ends:%Y-%m-%d}"


def delegated(domain: str, wanted: Sequence[str], ask: Servers) -> Iterator[str]:
    """Yield the problems with a domain's delegation. Raises UnansweredError."""
    try:
        found = ask(domain)
    except OSError as error:
        raise UnansweredError(f"the delegation of {domain} cannot be asked: {error}", service="dns") from error
    if not found:
        yield f"{domain} is not delegated"
    elif _hosts(found) != _hosts(wanted):
        yield f"{domain} is delegated to {', '.join(sorted(_hosts(found)))}, not to {', '.join(sorted(_hosts(wanted)))}"


def _zone_servers(live: LiveTarget) -> Sequence[str]:
    zone = str(live.deployed.outputs().get("zone_id", ""))
    servers: list[str] = live.ask("route53", GLOBAL_REGION, "get_hosted_zone", Id=zone)["DelegationSet"]["NameServers"]
    return servers


def _hosts(servers: Sequence[str]) -> set[str]:
    return {server.rstrip(".").lower() for server in servers}

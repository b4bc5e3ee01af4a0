"""Rules on fault injection: what FIS may break, for how long, and what stops it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from healthcare_dr.infra.fault_plan import DISCONNECT, MANAGED, MINUTES, STOP_ALARM, TEMPLATES
from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Resource, listed, rule
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
KIND = "aws_fis_experiment_template"
MANAGED_TAGS = (f"aws:RequestTag/{MANAGED}", f"aws:ResourceTag/{MANAGED}")
# What FIS needs to put other route tables under our subnets, and nothing else of EC2.
ON_NETWORK = {
    f"ec2:{action}"
    for action in (
        "AssociateRouteTable", "CreateManagedPrefixList", "CreateNetworkInterface", "CreateRoute", "CreateRouteTable",
        "CreateTags", "DeleteManagedPrefixList", "DeleteNetworkInterface", "DeleteRouteTable",
        "DescribeManagedPrefixLists", "DescribeNetworkInterfaces", "DescribeRouteTables", "DescribeSubnets",
        "DescribeVpcEndpoints", "DescribeVpcPeeringConnections", "DescribeVpcs", "DisassociateRouteTable",
        "GetManagedPrefixListEntries", "ModifyManagedPrefixList", "ModifyVpcEndpoint", "ReplaceRouteTableAssociation",
    )
}  # fmt: skip


def is_disconnecting(platform: Platform, holder: Resource) -> bool:
    """Return whether the holder is the policy of the disconnection experiment, the only one that may change the
    network.
    """
    return bool(holder.get("name") == Names(platform.settings.environment_suffix).of(DISCONNECT))


@rule(
    "fault-templates", "C3", "D7",
    why="An experiment that nothing ends is an outage, and one that a drill does not find cannot be played.",
)  # fmt: skip
def templates(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        found = list(platform.resources(KIND, region=region))
        wanted = [names.of(name, region) for name in TEMPLATES] if platform.settings.fault_injection else []
        named = sorted(str((template.get("tags") or {}).get("Name")) for template in found)
        if named != sorted(wanted):
            yield region, f"must have the FIS templates {', '.join(wanted) or 'none'}; it has {', '.join(named)}"
        for template in found:
            yield from _ends(platform, template)
            yield from _aims(platform, template, names)


@rule("fault-roles", "C6", why="A principal that may start an experiment has the permissions of its role.")
def roles(platform: Platform) -> Problems:
    for template in platform.resources(KIND):
        role = platform.referred(template.stack, template.get("role_arn"))
        if role is None or role.kind != "aws_iam_role":
            yield template.address, "must have a role of its own stack"
            continue
        trusted = [
            (statement.get("Principal"), statement.get("Condition"))
            for statement in role.statements("assume_role_policy")
        ]
        if trusted != [({"Service": "fis.amazonaws.com"}, {"StringEquals": {"aws:SourceAccount": ACCOUNT}})]:
            yield role.address, "must be for fis.amazonaws.com alone, on behalf of this account"
    for holder in platform.resources("aws_iam_role_policy"):
        if not is_disconnecting(platform, holder):
            continue
        for statement in holder.statements("policy"):
            if any(action.startswith("ec2:") for action in listed(statement["Action"])):
                yield from _network(holder, statement)


def _ends(platform: Platform, template: Resource) -> Problems:
    alarms = []
    for condition in template.blocks("stop_condition"):
        alarm = platform.referred(template.stack, condition.get("value"))
        alarms.append(alarm.get("alarm_name") if condition.get("source") == "aws:cloudwatch:alarm" and alarm else None)
    if alarms != [Names(platform.settings.environment_suffix).of(STOP_ALARM)]:
        yield template.address, f"must stop when {STOP_ALARM} of its region fires, and for nothing else"
    for action in template.blocks("action"):
        parameters = {each["key"]: each["value"] for each in action.get("parameter", [])}
        lasting = re.fullmatch(r"PT(\d+)M", str(parameters.get("duration")))
        if lasting is None or not 0 < int(lasting[1]) <= MINUTES:
            yield template.address, f"{action.get('name')} must last {MINUTES} minutes at most"


def _aims(platform: Platform, template: Resource, names: Names) -> Problems:
    tables = {
        f"arn:aws:dynamodb:{template.region}:{ACCOUNT}:table/{table}"
        for table in (names.records_table, names.audit_table)
    }
    for target in template.blocks("target"):
        tags = [(tag["key"], tag["value"]) for tag in target.get("resource_tag") or []]
        arns = target.get("resource_arns") or []
        subnets = [platform.referred(template.stack, arn) for arn in arns]
        own = (
            tags == [("Name", names.documents_bucket(ACCOUNT, template.region))]
            or (bool(arns) and set(arns) <= tables)
            or (bool(arns) and all(each is not None and each.kind == "aws_subnet" for each in subnets))
        )
        if not own:
            yield template.address, f"{target.get('name')} must aim at this region's tables, bucket or subnets"


def _network(holder: Resource, statement: Mapping[str, Any]) -> Problems:
    actions, sid = set(listed(statement["Action"])), statement["Sid"]
    if extra := sorted(actions - ON_NETWORK):
        yield holder.address, f"{', '.join(extra)} is more than disconnecting needs"
    if all(action.startswith(("ec2:Describe", "ec2:Get")) for action in actions):
        return
    conditions = statement.get("Condition", {}).get("StringEquals", {})
    if any(conditions.get(tag) == "true" for tag in MANAGED_TAGS):
        return
    for resource in listed(statement["Resource"]):
        # A network interface is made with some security group, which it does not change.
        made_with = actions <= {"ec2:CreateNetworkInterface", "ec2:CreateRouteTable"}
        if not resource.startswith("${") and not (made_with and ":security-group/" in resource):
            yield holder.address, f"statement {sid} must be for the region's own network, or for what FIS has made"

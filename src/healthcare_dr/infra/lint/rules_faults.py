"""Rules on fault injection: what FIS may break, for how long, and what stops it."""

import re
from collections.abc import Mapping
from typing import Any

from healthcare_dr.infra.fault_plan import DISCONNECT, MANAGED, TEMPLATES
from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, Resource, listed, rule

MINUTES = 30
STOP_ALARM = "endpoint-unhealthy"
KIND = "aws_fis_experiment_template"
MANAGED_TAGS = (f"aws:RequestTag/{MANAGED}", f"aws:ResourceTag/{MANAGED}")
# The actions of EC2 by which FIS replaces the route tables of our subnets.
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
    """Return whether this is the policy of the disconnection experiment, the only one that may change the network."""
    return bool(holder.get("name") == platform.names.of(DISCONNECT))


@rule("C3", "D7")
def fault_templates(platform: Platform) -> Problems:
    """An experiment that never ends is an outage, and drills find an experiment by its name."""
    for region in platform.settings.regions:
        found = list(platform.resources(KIND, region=region))
        injected = platform.settings.fault_injection
        expected = [platform.names.of(name, region) for name in TEMPLATES] if injected else []
        named = sorted(str((template.get("tags") or {}).get("Name")) for template in found)
        if named != sorted(expected):
            yield region, f"must have the FIS templates {', '.join(expected) or 'none'}; it has {', '.join(named)}"
        for template in found:
            yield from _limits(platform, template)
            yield from _targets(platform, template)


@rule("C6")
def fault_roles(platform: Platform) -> Problems:
    """A principal that may start an experiment has the permissions of its role."""
    for template in platform.resources(KIND):
        role = platform.referred(template.stack, template.get("role_arn"))
        if role is None or role.kind != "aws_iam_role":
            yield template.address, "must have a role of its own stack"
            continue
        statements = role.statements("assume_role_policy")
        trusted = [(statement.get("Principal"), statement.get("Condition")) for statement in statements]
        if trusted != [({"Service": "fis.amazonaws.com"}, {"StringEquals": {"aws:SourceAccount": ACCOUNT}})]:
            yield role.address, "must trust fis.amazonaws.com on behalf of this account only"
    for holder in platform.resources("aws_iam_role_policy"):
        for statement in holder.statements() if is_disconnecting(platform, holder) else ():
            if any(action.startswith("ec2:") for action in listed(statement["Action"])):
                yield from _network(holder, statement)


def _limits(platform: Platform, template: Resource) -> Problems:
    alarms = []
    for condition in template.blocks("stop_condition"):
        alarm = platform.referred(template.stack, condition.get("value"))
        alarms.append(alarm.get("alarm_name") if condition.get("source") == "aws:cloudwatch:alarm" and alarm else None)
    if alarms != [platform.names.of(STOP_ALARM)]:
        yield template.address, f"must stop when {STOP_ALARM} of its region fires, and for no other alarm"
    for action in template.blocks("action"):
        parameters = {each["key"]: each["value"] for each in action.get("parameter", [])}
        duration = re.fullmatch(r"PT(\d+)M", str(parameters.get("duration")))
        if duration is None or not 0 < int(duration[1]) <= MINUTES:
            yield template.address, f"{action.get('name')} must last {MINUTES} minutes at most"


def _targets(platform: Platform, template: Resource) -> Problems:
    names = platform.names
    own_tags = {
        "aws:s3:bucket": ("Name", names.documents_bucket(ACCOUNT, template.region)),
        "aws:ec2:subnet": ("Network", names.of("vpc", template.region)),
    }
    for target in template.blocks("target"):
        tags = [(tag["key"], tag["value"]) for tag in target.get("resource_tag") or []]
        arns = target.get("resource_arns") or []
        own = tags == [own_tags.get(str(target.get("resource_type")))] or (
            bool(arns) and set(arns) <= set(platform.table_arns(template.region))
        )
        if not own:
            yield template.address, f"{target.get('name')} must target this region's tables, bucket or subnets"


def _network(holder: Resource, statement: Mapping[str, Any]) -> Problems:
    actions, sid = set(listed(statement["Action"])), statement["Sid"]
    if extra := sorted(actions - ON_NETWORK):
        yield holder.address, f"disconnecting does not need {', '.join(extra)}"
    if all(action.startswith(("ec2:Describe", "ec2:Get")) for action in actions):
        return
    conditions = statement.get("Condition", {}).get("StringEquals", {})
    if any(conditions.get(tag) == "true" for tag in MANAGED_TAGS):
        return
    for resource in listed(statement["Resource"]):
        # A network interface is created with a security group, which it does not change.
        creates_only = actions <= {"ec2:CreateNetworkInterface", "ec2:CreateRouteTable"}
        if not resource.startswith("${") and not (creates_only and ":security-group/" in resource):
            yield holder.address, f"statement {sid} must be limited to the region's network and to what FIS creates"

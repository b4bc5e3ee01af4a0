"""Fault injection by AWS: FIS experiment templates of one region and their role. Off by default.

There are three templates, found by their tag `Name`. They pause the replication of tables, pause the replication of
documents, and disconnect the region from its peer, which includes both pauses. Each ends after half an hour, and at
once when the alarm on the region's own endpoint fires, because an unhealthy region must replicate the data that its
peer lacks. For the same reason FIS refuses to start while the alarm is on.

The disconnection (`route-table-disrupt-cross-region-connectivity`) blocks traffic from the VPC's subnets to the peer
region, peering included. The functions run outside the VPC (R2.5), so it affects neither them nor the APIs, the health
checks and DNS, but only data services that were placed in the VPC. Pausing tables in one region stops replication in
both directions; pausing documents stops those that leave the region. The functions reach the peer through the role
`documents-peer`; the drill itself denies that role.

The role may only act on this region's tables, bucket and network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cdktn_provider_aws import fis_experiment_template as fis
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy import IamRolePolicy

from healthcare_dr.infra import policy
from healthcare_dr.infra.fault_plan import DISCONNECT, MANAGED, MINUTES, PAUSE_DOCUMENTS, PAUSE_TABLES, STOP_ALARM
from healthcare_dr.infra.network import NETWORK_TAG, Network
from healthcare_dr.infra.policy import Condition, Statement
from healthcare_dr.infra.region_context import RegionContext

CREATED: Condition = {"StringEquals": {f"aws:ResourceTag/{MANAGED}": "true"}}
CREATING: Condition = {"StringEquals": {f"aws:RequestTag/{MANAGED}": "true"}}
CREATE = ("CreateManagedPrefixList", "CreateNetworkInterface", "CreateRouteTable")
USE = (
    "ec2:AssociateRouteTable", "ec2:CreateRoute", "ec2:DeleteManagedPrefixList", "ec2:DeleteNetworkInterface",
    "ec2:DeleteRouteTable", "ec2:DisassociateRouteTable", "ec2:ModifyManagedPrefixList", "ec2:ModifyVpcEndpoint",
    "ec2:ReplaceRouteTableAssociation",
)  # fmt: skip
NETWORK_CHANGES = (*(f"ec2:{action}" for action in CREATE), "ec2:CreateTags", *USE)
"""Everything that the disconnection changes."""
NETWORK_READS = (
    "ec2:DescribeManagedPrefixLists", "ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables",
    "ec2:DescribeSubnets", "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcPeeringConnections", "ec2:DescribeVpcs",
)  # fmt: skip
"""Everything that the disconnection reads and AWS cannot limit to a resource."""


def pausing(site: RegionContext) -> Sequence[Statement]:
    """Return the permissions to pause replication.

    FIS pauses tables by a policy on them and their streams, and documents by the replication rule.
    """
    return (
        policy.allow(
            "PauseTables",
            (
                "dynamodb:DeleteResourcePolicy",
                "dynamodb:DescribeTable",
                "dynamodb:GetResourcePolicy",
                "dynamodb:PutResourcePolicy",
            ),
            (*site.table_arns, *site.stream_arns),
        ),
        policy.allow(
            "PauseDocuments",
            ("s3:GetReplicationConfiguration", "s3:PauseReplication", "s3:PutReplicationConfiguration"),
            site.documents_arn,
            condition={"BoolIfExists": {"s3:IsReplicationPauseRequest": "true"}},
        ),
        policy.allow("FindTargets", ("s3:ListAllMyBuckets", "tag:GetResources"), "*"),
    )


def disconnecting(site: RegionContext, placed: Network) -> Sequence[Statement]:
    """Return the permissions to disconnect the network: to give subnets route tables that FIS creates."""
    created = [site.regional_arn("ec2", f"{kind}/*") for kind in ("network-interface", "prefix-list", "route-table")]
    subnets = [subnet.arn for subnet in placed.subnets]
    tables = [table.arn for table in placed.route_tables.values()]
    tagging: Condition = {"StringEquals": {**CREATING["StringEquals"], "ec2:CreateAction": CREATE}}
    return (
        policy.allow("Create", [f"ec2:{action}" for action in CREATE], created, condition=CREATING),
        policy.allow(
            "CreateInNetwork",
            ("ec2:CreateNetworkInterface", "ec2:CreateRouteTable"),
            [placed.vpc.arn, *subnets, site.regional_arn("ec2", "security-group/*")],
        ),
        policy.allow("TagWhatIsCreated", ["ec2:CreateTags"], created, condition=tagging),
        policy.allow(
            "UseAndRemoveCreated",
            USE,
            created,
            condition=CREATED,
        ),
        policy.allow(
            "SwapRouteTables",
            ("ec2:AssociateRouteTable", "ec2:DisassociateRouteTable", "ec2:ReplaceRouteTableAssociation"),
            [*subnets, *tables],
        ),
        policy.allow("KeepEndpoints", ["ec2:ModifyVpcEndpoint"], [endpoint.arn for endpoint in placed.endpoints]),
        # The prefix lists of AWS's own services belong to AWS's account.
        policy.allow(
            "ReadPrefixLists", ["ec2:GetManagedPrefixListEntries"], f"arn:aws:ec2:{site.region}:*:prefix-list/*"
        ),
        policy.allow(
            "FindNetwork",
            NETWORK_READS,
            "*",
        ),
    )


def _role(site: RegionContext, name: str, statements: Sequence[Statement]) -> IamRole:
    role = IamRole(
        site.stack,
        f"{name}_role_{site.role}",
        name=site.names.of(name, site.region),
        assume_role_policy=policy.trust_service("fis.amazonaws.com", account=site.account),
        provider=site.provider,
    )
    IamRolePolicy(
        site.stack,
        f"{name}_policy_{site.role}",
        name=site.names.of(name),
        role=role.name,
        policy=policy.document(*statements),
        provider=site.provider,
    )
    return role


@dataclass(frozen=True, kw_only=True)
class _Action:
    """One action on one target, selected by its ARNs or by a tag."""

    name: str
    action: str
    target: str
    resource_type: str
    arns: Sequence[str] = ()
    tag: tuple[str, str] | None = None
    region: str | None = None


def fault_injection(site: RegionContext, placed: Network) -> None:
    """Create the experiments of this region. Its alarms must be in the same stack."""
    tables = _Action(
        name=PAUSE_TABLES,
        action="aws:dynamodb:global-table-pause-replication",
        target="Tables",
        resource_type="aws:dynamodb:global-table",
        arns=site.table_arns,
    )
    documents = _Action(
        name=PAUSE_DOCUMENTS,
        action="aws:s3:bucket-pause-replication",
        target="Buckets",
        resource_type="aws:s3:bucket",
        # This action selects its targets by tag only.
        tag=("Name", site.documents_bucket),
        region=site.peer_region,
    )
    network = _Action(
        name="cut-network",
        action="aws:network:route-table-disrupt-cross-region-connectivity",
        target="Subnets",
        resource_type="aws:ec2:subnet",
        # FIS accepts at most five ARNs in a target, and there are six subnets.
        tag=(NETWORK_TAG, site.names.of("vpc", site.region)),
        region=site.peer_region,
    )
    pause = _role(site, "faults", pausing(site))
    disconnect = _role(site, "disconnect", [*pausing(site), *disconnecting(site, placed)])
    _template(site, pause, PAUSE_TABLES, [tables])
    _template(site, pause, PAUSE_DOCUMENTS, [documents])
    _template(site, disconnect, DISCONNECT, [tables, documents, network])


def _template(site: RegionContext, role: IamRole, name: str, actions: Sequence[_Action]) -> None:
    fis.FisExperimentTemplate(
        site.stack,
        f"{name.replace('-', '_')}_{site.role}",
        description=f"{name} of {site.region} for {MINUTES} minutes at most",
        role_arn=role.arn,
        stop_condition=[
            fis.FisExperimentTemplateStopCondition(
                source="aws:cloudwatch:alarm",
                value=f"${{aws_cloudwatch_metric_alarm.{STOP_ALARM.replace('-', '_')}.arn}}",
            )
        ],
        action=[
            fis.FisExperimentTemplateAction(
                name=each.name,
                action_id=each.action,
                parameter=[
                    fis.FisExperimentTemplateActionParameter(key=key, value=value)
                    for key, value in (("duration", f"PT{MINUTES}M"), ("region", each.region))
                    if value is not None
                ],
                target=fis.FisExperimentTemplateActionTarget(key=each.target, value=each.name),
            )
            for each in actions
        ],
        target=[
            fis.FisExperimentTemplateTarget(
                name=each.name,
                resource_type=each.resource_type,
                resource_arns=list(each.arns) or None,
                resource_tag=[fis.FisExperimentTemplateTargetResourceTag(key=each.tag[0], value=each.tag[1])]
                if each.tag
                else None,
                selection_mode="ALL",
            )
            for each in actions
        ],
        tags={"Name": site.names.of(name, site.region)},
        provider=site.provider,
    )

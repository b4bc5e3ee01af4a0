"""What FIS may do for its experiments: only to this region's tables, bucket and network."""

from collections.abc import Mapping, Sequence

from cdktn import TerraformStack
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy import IamRolePolicy

from healthcare_dr.infra import policy
from healthcare_dr.infra.fault_plan import MANAGED
from healthcare_dr.infra.network import Network
from healthcare_dr.infra.policy import Condition, Statement
from healthcare_dr.infra.site import Site

MADE: Condition = {"StringEquals": {f"aws:ResourceTag/{MANAGED}": "true"}}
BEING_MADE: Condition = {"StringEquals": {f"aws:RequestTag/{MANAGED}": "true"}}
CREATE = ("CreateManagedPrefixList", "CreateNetworkInterface", "CreateRouteTable")


def pausing_role(stack: TerraformStack, site: Site) -> IamRole:
    """For the experiments that pause replication."""
    return _role(stack, site, "faults", pausing(site))


def disconnecting_role(stack: TerraformStack, site: Site, placed: Network) -> IamRole:
    """For the experiment that cuts the region off from its peer."""
    return _role(stack, site, "disconnect", [*pausing(site), *disconnecting(site, placed)])


def pausing(site: Site) -> Sequence[Statement]:
    """Tables stop by a policy on themselves and their streams, documents by a pause in the replication rule."""
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


def disconnecting(site: Site, placed: Network) -> Sequence[Statement]:
    """Subnets get other route tables for a while: FIS changes what it made itself, and where our subnets point."""
    made = [site.regional_arn("ec2", f"{kind}/*") for kind in ("network-interface", "prefix-list", "route-table")]
    subnets = [subnet.arn for subnet in placed.subnets]
    tables = [table.arn for table in placed.route_tables.values()]
    created: Mapping[str, Mapping[str, str | Sequence[str]]] = {
        "StringEquals": {**BEING_MADE["StringEquals"], "ec2:CreateAction": CREATE}
    }
    return (
        policy.allow("Create", [f"ec2:{action}" for action in CREATE], made, condition=BEING_MADE),
        policy.allow(
            "CreateInNetwork",
            ("ec2:CreateNetworkInterface", "ec2:CreateRouteTable"),
            [placed.vpc.arn, *subnets, site.regional_arn("ec2", "security-group/*")],
        ),
        policy.allow("TagWhatIsCreated", ["ec2:CreateTags"], made, condition=created),
        policy.allow(
            "UseAndRemoveCreated",
            (
                "ec2:AssociateRouteTable",
                "ec2:CreateRoute",
                "ec2:DeleteManagedPrefixList",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteRouteTable",
                "ec2:DisassociateRouteTable",
                "ec2:ModifyManagedPrefixList",
                "ec2:ModifyVpcEndpoint",
                "ec2:ReplaceRouteTableAssociation",
            ),
            made,
            condition=MADE,
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
            (
                "ec2:DescribeManagedPrefixLists",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeRouteTables",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcEndpoints",
                "ec2:DescribeVpcPeeringConnections",
                "ec2:DescribeVpcs",
            ),
            "*",
        ),
    )


def _role(stack: TerraformStack, site: Site, name: str, statements: Sequence[Statement]) -> IamRole:
    role = IamRole(
        stack,
        f"{name}_role_{site.role}",
        name=site.names.of(name, site.region),
        assume_role_policy=policy.trust_service("fis.amazonaws.com", account=site.account),
        provider=site.provider,
    )
    IamRolePolicy(
        stack,
        f"{name}_policy_{site.role}",
        name=site.names.of(name),
        role=role.name,
        policy=policy.document(*statements),
        provider=site.provider,
    )
    return role

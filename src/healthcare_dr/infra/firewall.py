"""Security groups of a region, and the record of what its network carries."""

from cdktn import TerraformStack
from cdktn_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from cdktn_provider_aws.default_security_group import DefaultSecurityGroup
from cdktn_provider_aws.flow_log import FlowLog
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy import IamRolePolicy
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.security_group import SecurityGroup
from cdktn_provider_aws.vpc import Vpc
from cdktn_provider_aws.vpc_security_group_egress_rule import VpcSecurityGroupEgressRule
from cdktn_provider_aws.vpc_security_group_ingress_rule import VpcSecurityGroupIngressRule

from healthcare_dr.infra import policy
from healthcare_dr.infra.site import Site

HTTPS = 443


def security_groups(stack: TerraformStack, site: Site, vpc: Vpc) -> dict[str, SecurityGroup]:
    """Groups for Lambda and for data services that admit each other and the peer region, and nothing else."""
    DefaultSecurityGroup(stack, "default_group", vpc_id=vpc.id, tags={"Name": site.names.of("closed", site.region)})
    groups = {
        name: SecurityGroup(
            stack,
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
        _both_ways(stack, f"{name}_{other}", groups[name], f"{other} group", peer=groups[other])
        _both_ways(stack, f"{name}_peer", groups[name], f"VPC of {site.peer_region}", cidr=str(site.peer_cidr))
    return groups


def _both_ways(
    stack: TerraformStack,
    name: str,
    group: SecurityGroup,
    whom: str,
    *,
    peer: SecurityGroup | None = None,
    cidr: str | None = None,
) -> None:
    for rule, preposition in (
        (VpcSecurityGroupIngressRule, "from"),
        (VpcSecurityGroupEgressRule, "to"),
    ):
        rule(
            stack,
            f"{name}_{preposition}",
            security_group_id=group.id,
            description=f"HTTPS {preposition} the {whom}",
            ip_protocol="tcp",
            from_port=HTTPS,
            to_port=HTTPS,
            referenced_security_group_id=peer.id if peer else None,
            cidr_ipv4=cidr,
        )


def flow_logs(stack: TerraformStack, site: Site, vpc: Vpc, key: KmsKey) -> None:
    """Every flow of the VPC, encrypted, kept as long as the audit trail."""
    group = CloudwatchLogGroup(
        stack,
        "flow_log_group",
        name=site.names.log_group("flow"),
        retention_in_days=site.settings.audit_retention_days,
        kms_key_id=key.arn,
    )
    role = IamRole(
        stack,
        "flow_log_role",
        name=site.names.of("flow-logs", site.region),
        assume_role_policy=policy.trust_service("vpc-flow-logs.amazonaws.com", account=site.account),
    )
    IamRolePolicy(
        stack,
        "flow_log_policy",
        name=site.names.of("flow-logs"),
        role=role.name,
        policy=policy.document(
            policy.allow(
                "WriteFlowLogs",
                ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
                (group.arn, f"{group.arn}:*"),
            ),
            policy.allow("FindLogGroups", ["logs:DescribeLogGroups"], site.regional_arn("logs", "log-group:*")),
        ),
    )
    FlowLog(
        stack,
        "flow_log",
        vpc_id=vpc.id,
        traffic_type="ALL",
        log_destination_type="cloud-watch-logs",
        log_destination=group.arn,
        iam_role_arn=role.arn,
        max_aggregation_interval=60,
        tags={"Name": site.names.of("flow", site.region)},
    )

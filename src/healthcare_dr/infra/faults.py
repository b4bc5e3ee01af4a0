"""Faults that AWS plays itself: FIS experiments that pause replication between the regions. Off by default."""

from cdktn import TerraformStack
from cdktn_provider_aws.fis_experiment_template import (
    FisExperimentTemplate,
    FisExperimentTemplateAction,
    FisExperimentTemplateActionParameter,
    FisExperimentTemplateActionTarget,
    FisExperimentTemplateStopCondition,
    FisExperimentTemplateTarget,
    FisExperimentTemplateTargetResourceTag,
)
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy import IamRolePolicy

from healthcare_dr.infra import policy
from healthcare_dr.infra.site import Site

DURATION = "PT5M"


def replication_pause(stack: TerraformStack, site: Site) -> None:
    """Two experiments in this region: tables stop replicating, documents stop replicating; both end by themselves."""
    role = _role(stack, site)
    _experiment(
        stack,
        site,
        role,
        name="pause-tables",
        action="aws:dynamodb:global-table-pause-replication",
        target="Tables",
        resource_type="aws:dynamodb:global-table",
        arns=list(site.table_arns),
        parameters={"duration": DURATION},
    )
    _experiment(
        stack,
        site,
        role,
        name="pause-documents",
        action="aws:s3:bucket-pause-replication",
        target="Buckets",
        resource_type="aws:s3:bucket",
        # This action knows its targets by tag only.
        tag=("Name", site.documents_bucket),
        parameters={"duration": DURATION, "region": site.peer_region},
    )


def _role(stack: TerraformStack, site: Site) -> IamRole:
    role = IamRole(
        stack,
        f"fault_role_{site.role}",
        name=site.names.of("faults", site.region),
        assume_role_policy=policy.trust_service("fis.amazonaws.com", account=site.account),
        provider=site.provider,
    )
    IamRolePolicy(
        stack,
        f"fault_policy_{site.role}",
        name=site.names.of("faults"),
        role=role.name,
        policy=policy.document(
            policy.allow(
                "PauseTables",
                (
                    "dynamodb:DeleteResourcePolicy",
                    "dynamodb:DescribeTable",
                    "dynamodb:GetResourcePolicy",
                    "dynamodb:PutResourcePolicy",
                ),
                site.table_arns,
            ),
            policy.allow(
                "PauseDocuments",
                ("s3:GetReplicationConfiguration", "s3:PauseReplication", "s3:PutReplicationConfiguration"),
                site.documents_arn,
                condition={"BoolIfExists": {"s3:IsReplicationPauseRequest": "true"}},
            ),
            policy.allow("FindTargets", ("s3:ListAllMyBuckets", "tag:GetResources"), "*"),
        ),
        provider=site.provider,
    )
    return role


def _experiment(
    stack: TerraformStack,
    site: Site,
    role: IamRole,
    *,
    name: str,
    action: str,
    target: str,
    resource_type: str,
    arns: list[str] | None = None,
    tag: tuple[str, str] | None = None,
    parameters: dict[str, str],
) -> None:
    FisExperimentTemplate(
        stack,
        f"{name.replace('-', '_')}_{site.role}",
        description=f"{name} of {site.region} for {DURATION}",
        role_arn=role.arn,
        stop_condition=[FisExperimentTemplateStopCondition(source="none")],
        action=[
            FisExperimentTemplateAction(
                name=name,
                action_id=action,
                parameter=[
                    FisExperimentTemplateActionParameter(key=key, value=value) for key, value in parameters.items()
                ],
                target=FisExperimentTemplateActionTarget(key=target, value=name),
            )
        ],
        target=[
            FisExperimentTemplateTarget(
                name=name,
                resource_type=resource_type,
                resource_arns=arns,
                resource_tag=[FisExperimentTemplateTargetResourceTag(key=tag[0], value=tag[1])] if tag else None,
                selection_mode="ALL",
            )
        ],
        tags={"Name": site.names.of(name, site.region)},
        provider=site.provider,
    )

"""Faults that AWS plays itself: FIS experiments of one region, off by default.

Three templates, found by their tag `Name` (fault_plan.py): tables stop replicating, documents stop replicating, and
the region is disconnected from its peer, which is both at once and the network besides. Each ends by itself after
half an hour, and at once when the alarm on the region's own endpoint fires: a region that is in trouble has to hand
over what its peer lacks. For that reason FIS refuses to begin while the alarm is on.

What disconnecting breaks here, and what not. The network part (`route-table-disrupt-cross-region-connectivity`) blocks
what leaves the VPC's subnets for the peer region, peering included. Our functions run outside the VPC (R2.5): it does
not touch them, the APIs, the health checks or DNS, but only data services that somebody has put into the VPC. Pausing
tables in one region stops them in both directions; pausing documents stops those that leave this region. What our
functions ask of the peer, they ask through the role `documents-peer`; the drill closes that way itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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

from healthcare_dr.infra.fault_plan import DISCONNECT, MINUTES, PAUSE_DOCUMENTS, PAUSE_TABLES, STOP_ALARM
from healthcare_dr.infra.fault_roles import disconnecting_role, pausing_role
from healthcare_dr.infra.network import Network
from healthcare_dr.infra.site import Site


@dataclass(frozen=True, kw_only=True)
class _Action:
    """One action on one target, found by its ARNs or by a tag."""

    name: str
    action: str
    target: str
    resource_type: str
    arns: Sequence[str] = ()
    tag: tuple[str, str] | None = None
    region: str | None = None


def fault_injection(stack: TerraformStack, site: Site, placed: Network) -> None:
    """The experiments of this region; its alarms have to be in the same stack."""
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
        # This action knows its targets by tag only.
        tag=("Name", site.documents_bucket),
        region=site.peer_region,
    )
    network = _Action(
        name="cut-network",
        action="aws:network:route-table-disrupt-cross-region-connectivity",
        target="Subnets",
        resource_type="aws:ec2:subnet",
        arns=[subnet.arn for subnet in placed.subnets],
        region=site.peer_region,
    )
    pausing = pausing_role(stack, site)
    _template(stack, site, pausing, PAUSE_TABLES, [tables])
    _template(stack, site, pausing, PAUSE_DOCUMENTS, [documents])
    _template(stack, site, disconnecting_role(stack, site, placed), DISCONNECT, [tables, documents, network])


def _template(stack: TerraformStack, site: Site, role: IamRole, name: str, actions: Sequence[_Action]) -> None:
    FisExperimentTemplate(
        stack,
        f"{name.replace('-', '_')}_{site.role}",
        description=f"{name} of {site.region} for {MINUTES} minutes at most",
        role_arn=role.arn,
        stop_condition=[
            FisExperimentTemplateStopCondition(
                source="aws:cloudwatch:alarm",
                value=f"${{aws_cloudwatch_metric_alarm.{STOP_ALARM.replace('-', '_')}.arn}}",
            )
        ],
        action=[
            FisExperimentTemplateAction(
                name=each.name,
                action_id=each.action,
                parameter=[
                    FisExperimentTemplateActionParameter(key=key, value=value)
                    for key, value in (("duration", f"PT{MINUTES}M"), ("region", each.region))
                    if value is not None
                ],
                target=FisExperimentTemplateActionTarget(key=each.target, value=each.name),
            )
            for each in actions
        ],
        target=[
            FisExperimentTemplateTarget(
                name=each.name,
                resource_type=each.resource_type,
                resource_arns=list(each.arns) or None,
                resource_tag=[FisExperimentTemplateTargetResourceTag(key=each.tag[0], value=each.tag[1])]
                if each.tag
                else None,
                selection_mode="ALL",
            )
            for each in actions
        ],
        tags={"Name": site.names.of(name, site.region)},
        provider=site.provider,
    )

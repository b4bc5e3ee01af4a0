"""What has to wake somebody, in the region where it happens."""

from collections.abc import Sequence

from cdktn import TerraformStack
from cdktn_provider_aws.cloudwatch_composite_alarm import CloudwatchCompositeAlarm
from cdktn_provider_aws.cloudwatch_metric_alarm import CloudwatchMetricAlarm

from healthcare_dr.infra.alarm_rules import ALARMING, BELOW, Rule, Watched, integrity, recovery_point, serving
from healthcare_dr.infra.peer_rules import peer
from healthcare_dr.infra.site import Site
from healthcare_dr.infra.traffic import Health

PERIOD_SECONDS = 60


def regional_alarms(stack: TerraformStack, site: Site, *, watched: Watched, topic_arn: str) -> None:
    """Every alarm of a region, and the verdicts made of them."""
    for name, why, rules in (
        ("region-impaired", f"{site.region} does not serve as it should", serving(site, watched)),
        (
            "recovery-point-at-risk",
            f"{site.region} holds data that its peer does not have yet",
            recovery_point(site),
        ),
        ("integrity-at-risk", f"{site.region} holds data that needs a look", integrity(watched)),
        ("peer-at-risk", f"{site.peer_region} is in trouble, or {site.region} does not watch it", peer(site, watched)),
    ):
        for rule in rules:
            alarm(stack, site, rule, topic_arn)
        any_of = " OR ".join(f'ALARM("{site.names.of(rule.name)}")' for rule in rules)
        CloudwatchCompositeAlarm(
            stack,
            _identifier(name),
            alarm_name=site.names.of(name),
            alarm_description=why,
            alarm_rule=any_of,
            alarm_actions=[topic_arn],
            ok_actions=[topic_arn],
        ).add_override("depends_on", [f"aws_cloudwatch_metric_alarm.{_identifier(rule.name)}" for rule in rules])


def health_check_alarms(stack: TerraformStack, watcher: Site, sites: Sequence[Site], health: Health) -> None:
    """Alarms on Route 53's verdicts, in us-east-1: the metric exists nowhere else."""
    for site in sites:
        for name, why, check in (
            ("endpoint-check", f"Route 53 cannot reach {site.region}", health.endpoints[site.role]),
            ("health-check", f"Route 53 has withdrawn {site.region} from DNS", health.verdicts[site.role]),
        ):
            rule = Rule(
                name=f"{name}-{site.region}",
                why=why,
                namespace="AWS/Route53",
                metric="HealthCheckStatus",
                dimensions={"HealthCheckId": check.id},
                statistic="Minimum",
                comparison=BELOW,
                threshold=1,
                silence=ALARMING,
            )
            alarm(stack, watcher, rule, watcher.topic_arn)


def alarm(stack: TerraformStack, site: Site, rule: Rule, topic_arn: str) -> None:
    """One metric alarm that tells the region's topic when it fires and when it is over."""
    percentile = rule.statistic.startswith("p")
    CloudwatchMetricAlarm(
        stack,
        _identifier(rule.name),
        alarm_name=site.names.of(rule.name),
        alarm_description=rule.why,
        namespace=rule.namespace,
        metric_name=rule.metric,
        dimensions=dict(rule.dimensions),
        statistic=None if percentile else rule.statistic,
        extended_statistic=rule.statistic if percentile else None,
        comparison_operator=rule.comparison,
        threshold=rule.threshold,
        period=PERIOD_SECONDS,
        evaluation_periods=rule.periods,
        datapoints_to_alarm=rule.periods,
        treat_missing_data=rule.silence,
        alarm_actions=[topic_arn],
        ok_actions=[topic_arn],
        provider=site.provider,
    )


def _identifier(name: str) -> str:
    return name.replace("-", "_")

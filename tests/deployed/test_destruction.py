"""Destroying the platform removes every resource. It ends the deployment, so it runs last."""

import pytest

from support.platform import REGIONS, Deployed


@pytest.mark.requirement("D6", "R3.4")
def test_destroy_leaves_nothing_but_keys_awaiting_deletion(deployed: Deployed) -> None:
    for region in REGIONS:
        bucket = deployed.bucket(region)
        deployed.client("s3", region).put_object(Bucket=bucket, Key="left-behind", Body=b"a document")
    finished = deployed.hdr("destroy", "--target", "embedded")
    assert finished.returncode == 0, finished.stderr
    assert remains(deployed) == []
    for region in REGIONS:
        kms = deployed.client("kms", region)
        states = {kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] for key in kms.list_keys()["Keys"]}
        assert states <= {"PendingDeletion"}
    assert deployed.hdr("down").returncode == 0
    assert deployed.emulator.running() is False


def remains(deployed: Deployed) -> list[str]:
    """Return the resources that remain in either region, except keys."""
    found: list[str] = [f"bucket {bucket['Name']}" for bucket in deployed.client("s3").list_buckets()["Buckets"]]
    iam = deployed.client("iam")
    found += [f"role {role['RoleName']}" for role in iam.list_roles()["Roles"] if "healthcare" in role["RoleName"]]
    found += [f"policy {policy['PolicyName']}" for policy in iam.list_policies(Scope="Local")["Policies"]]
    route53 = deployed.client("route53")
    found += [f"zone {zone['Name']}" for zone in route53.list_hosted_zones()["HostedZones"]]
    found += [f"health check {check['Id']}" for check in route53.list_health_checks()["HealthChecks"]]
    for region in REGIONS:
        for service, call, answer, label in (
            ("dynamodb", "list_tables", "TableNames", None),
            ("lambda", "list_functions", "Functions", "FunctionName"),
            ("apigatewayv2", "get_apis", "Items", "Name"),
            ("sns", "list_topics", "Topics", "TopicArn"),
            ("logs", "describe_log_groups", "logGroups", "logGroupName"),
            ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
            ("cloudwatch", "describe_alarms", "CompositeAlarms", "AlarmName"),
            ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
            ("cloudtrail", "describe_trails", "trailList", "Name"),
            ("kms", "list_aliases", "Aliases", "AliasName"),
        ):
            items = getattr(deployed.client(service, region), call)()[answer]
            names = [item[label] if label else item for item in items]
            found += [f"{region} {service} {name}" for name in names if not name.startswith("alias/aws/")]
        ec2 = deployed.client("ec2", region)
        found += [f"{region} vpc {vpc['VpcId']}" for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc.get("IsDefault")]
        found += [f"{region} {log['FlowLogId']}" for log in ec2.describe_flow_logs()["FlowLogs"]]
    return found

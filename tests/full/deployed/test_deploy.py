"""Deployments with the real provider: what is refused until it is named, and what is repeated."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.deploy import Deployment, approve_all
from healthcare_dr.ops.progress import PlainProgress
from healthcare_dr.ops.targets.embedded import EmbeddedTarget
from healthcare_dr.ops.terraform.interrupts import Interrupts
from healthcare_dr.ops.terraform.runner import Plan
from healthcare_dr.settings import load_settings
from support.platform import REGIONS, SUFFIX, Deployed

Document = dict[str, Any]
Edit = Callable[[Document], None]


def without_replica(stack: Document) -> None:
    del stack["resource"]["aws_dynamodb_table"]["patient_records"]["replica"]
    # They read the streams of the replicas.
    mappings = stack["resource"]["aws_lambda_event_source_mapping"]
    for name in [name for name in mappings if name.endswith("_secondary")]:
        del mappings[name]


def with_other_names(stack: Document) -> None:
    stack["resource"]["aws_s3_bucket"]["documents_primary"]["bucket"] += "-new"
    stack["resource"]["aws_route53_zone"]["zone"]["name"] = "healthcare-dr-new.com"


def with_other_key(stack: Document) -> None:
    stack["resource"]["aws_kms_key"]["data_key"]["multi_region"] = True


def with_shorter_logs(stack: Document) -> None:
    stack["resource"]["aws_cloudwatch_log_group"]["access_log_group"]["retention_in_days"] = 30


@pytest.fixture
def made(deployed: Deployed) -> Iterator[Deployment]:
    """The deployment of the platform, as `hdr deploy` composes it."""
    settings = load_settings(environment_suffix=SUFFIX, home=deployed.home, emulator_port=deployed.port)
    progress = PlainProgress(console=Console())
    target = bootstrap.target_of(settings, "embedded")
    with bootstrap.claim_of(settings, "embedded"):
        yield bootstrap.deployment_of(settings, target, progress=progress, interrupts=Interrupts(progress=progress))


@pytest.fixture
def edited(made: Deployment) -> Callable[..., Deployment]:
    """Returns a deployment of the platform whose synthesized stacks are edited."""

    def edit(**edits: Sequence[Edit]) -> Deployment:
        def synthesize(outdir: Path) -> None:
            made.synthesize(outdir)
            for name, changes in edits.items():
                file = outdir / "stacks" / f"healthcare-dr-{name}" / "cdk.tf.json"
                document = json.loads(file.read_text(encoding="utf-8"))
                for change in changes:
                    change(document)
                file.write_text(json.dumps(document), encoding="utf-8")

        return replace(made, synthesize=synthesize)

    return edit


@pytest.mark.requirement("D6", "R3.4")
def test_plan_that_destroys_data_is_refused_until_each_resource_is_named(
    deployed: Deployed, edited: Callable[..., Deployment]
) -> None:
    deployment = edited(primary=[with_other_key, with_shorter_logs], secondary=[with_other_key])
    before = {stack: state.document for stack, state in deployment.states().items()}
    with pytest.raises(DeploymentError) as refusal:
        deployment.deploy(approve_all)
    expected = [
        f"{PRIMARY}:aws_cloudwatch_log_group.access_log_group",
        f"{PRIMARY}:aws_kms_key.data_key",
        f"{SECONDARY}:aws_kms_key.data_key",
    ]
    assert str(refusal.value).endswith(f"`hdr deploy {' '.join(f'--allow-destroy {name}' for name in expected)}`")
    shown: list[Plan] = []

    def decline(plans: Sequence[Plan]) -> bool:
        shown.extend(plans)
        return False

    with pytest.raises(DeploymentError, match="not confirmed"):
        deployment.deploy(decline, allow_destroy=expected)
    assert {(change.address, change.action) for plan in shown for change in plan.protected} == {
        (expected[0], "shorten"),
        (expected[1], "replace"),
        (expected[2], "replace"),
    }
    assert {stack: state.document for stack, state in deployment.states().items()} == before


@pytest.mark.requirement("D6", "R3.4")
def test_removed_replica_and_new_names_are_refused_before_the_regions_are_changed(
    deployed: Deployed, edited: Callable[..., Deployment]
) -> None:
    deployment = edited(**{"global": [without_replica, with_other_names]})
    with pytest.raises(DeploymentError, match="3 of what it destroys are not named") as refusal:
        deployment.deploy(approve_all)
    for address in (
        "aws_dynamodb_table.patient_records.replica.us-west-2",
        "aws_s3_bucket.documents_primary",
        "aws_route53_zone.zone",
    ):
        assert f"--allow-destroy {GLOBAL}:{address}" in str(refusal.value)
    replicas = deployed.client("dynamodb").describe_table(TableName=deployed.names.records_table)["Table"]["Replicas"]
    assert [replica["RegionName"] for replica in replicas] == ["us-west-2"]
    deployed.client("s3").head_bucket(Bucket=deployed.bucket("us-east-1"))


PEERED = "aws_vpc_peering_connection.peering"


def peered_networks() -> dict[str, Document]:
    """Return stacks whose peering connection gets its options although nothing accepts it."""
    secondary = {"provider": "aws.secondary"}
    resources = {
        "aws_vpc": {"east": {"cidr_block": "10.8.0.0/16"}, "west": {"cidr_block": "10.9.0.0/16", **secondary}},
        "aws_vpc_peering_connection": {
            "peering": {"vpc_id": "${aws_vpc.east.id}", "peer_vpc_id": "${aws_vpc.west.id}", "peer_region": REGIONS[1]}
        },
        "aws_vpc_peering_connection_options": {
            "options": {
                "vpc_peering_connection_id": f"${{{PEERED}.id}}",
                "requester": {"allow_remote_vpc_dns_resolution": True},
            }
        },
    }
    providers = [{"region": REGIONS[0]}, {"region": REGIONS[1], "alias": "secondary"}]
    needed = {"required_providers": {"aws": {"source": "hashicorp/aws"}}, "backend": {"local": {}}}
    region = {"terraform": needed, "provider": {"aws": providers[:1]}, "resource": {"terraform_data": {"region": {}}}}
    output = {"connection": {"value": f"${{{PEERED}.id}}"}}
    spanning = {"terraform": needed, "provider": {"aws": providers}, "resource": resources, "output": output}
    return {PRIMARY: region, SECONDARY: region, GLOBAL: spanning}


class Accepting(PlainProgress):
    """Accepts the peering connection as soon as a retry is reported."""

    def __init__(self, accept: Callable[[], object]) -> None:
        super().__init__(console=Console())
        self.retries: list[str] = []
        self._accept = accept

    def say(self, text: str) -> None:
        super().say(text)
        if "repeating what is left" in text:
            self.retries.append(text)
            self._accept()


def test_peering_connection_that_becomes_active_late_is_retried(
    deployed: Deployed, made: Deployment, tmp_path: Path
) -> None:
    """The embedded AWS refuses its options as AWS does. The state of these stacks is beside that of the platform."""

    def synthesize(outdir: Path) -> None:
        for stack, document in peered_networks().items():
            (outdir / "stacks" / stack).mkdir(parents=True)
            (outdir / "stacks" / stack / "cdk.tf.json").write_text(json.dumps(document), encoding="utf-8")

    def accept() -> None:
        connections = deployed.client("ec2").describe_vpc_peering_connections(
            Filters=[{"Name": "status-code", "Values": ["pending-acceptance"]}]
        )["VpcPeeringConnections"]
        for connection in connections:
            deployed.client("ec2", REGIONS[1]).accept_vpc_peering_connection(
                VpcPeeringConnectionId=connection["VpcPeeringConnectionId"]
            )

    progress = Accepting(accept)
    root = tmp_path / SUFFIX
    assert isinstance(made.target, EmbeddedTarget)
    target = replace(made.target, root=root)
    deployment = replace(
        made,
        target=target,
        root=root,
        synthesize=synthesize,
        progress=progress,
        domain="without-a-zone.org",
        raise_throughput=lambda _: None,
    )
    try:
        deployment.deploy(approve_all)
        assert len(progress.retries) == 1
        connection = deployment.states()[GLOBAL].outputs["connection"]
        (found,) = deployed.client("ec2").describe_vpc_peering_connections(VpcPeeringConnectionIds=[connection])[
            "VpcPeeringConnections"
        ]
        assert found["RequesterVpcInfo"]["PeeringOptions"]["AllowDnsResolutionFromRemoteVpc"] is True
        assert not any(plan.pending for plan in deployment.plan())
    finally:
        deployment.destroy(None)

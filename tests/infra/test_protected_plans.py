"""Plans that the real provider makes of a state with protected resources, without requests to AWS."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.naming import GLOBAL
from healthcare_dr.ops.targets.embedded import PROVIDER_VERSION
from healthcare_dr.ops.terraform.events import PlannedChange, parse
from healthcare_dr.ops.terraform.protection import may_destroy, protected_changes
from healthcare_dr.ops.terraform.runner import PLAN_FILE
from healthcare_dr.ops.terraform.workspace import Workspace
from infra.literals import Resources
from infra.provider import terraform_in

KEY = "arn:aws:kms:us-west-2:123456789012:key/1"
SCHEMA_VERSIONS = {"aws_dynamodb_table": 1}
TABLE: dict[str, Any] = {
    "name": "patient_records-dev", "billing_mode": "PAY_PER_REQUEST", "hash_key": "pk",
    "attribute": [{"name": "pk", "type": "S"}], "stream_enabled": True, "stream_view_type": "NEW_AND_OLD_IMAGES",
    "replica": [
        {"region_name": "us-west-2", "kms_key_arn": KEY, "point_in_time_recovery": True, "propagate_tags": True}
    ],
}  # fmt: skip


def expiring(days: int) -> dict[str, Any]:
    """Return a rule of a lifecycle that deletes objects after some days, and old versions later."""
    return {
        "id": "retention", "status": "Enabled", "filter": [{"prefix": ""}], "expiration": [{"days": days}],
        "noncurrent_version_expiration": [{"noncurrent_days": days + 30}],
    }  # fmt: skip


DEPLOYED: Resources = {
    "aws_dynamodb_table": {
        name: {**copy.deepcopy(TABLE), "name": name} for name in ("moved", "rekeyed", "renamed", "tagged")
    },
    "aws_s3_bucket": {name: {"bucket": name, "force_destroy": True} for name in ("renamed", "tagged")},
    "aws_kms_key": {"replaced": {"deletion_window_in_days": 7, "multi_region": False}},
    "aws_route53_zone": {"removed": {"name": "example.org", "comment": "", "force_destroy": True}},
    "aws_cloudwatch_log_group": {
        "shortened": {"name": "shortened", "retention_in_days": 2192},
        "short": {"name": "short", "retention_in_days": 30},
    },
    "aws_s3_bucket_lifecycle_configuration": {
        name: {"bucket": name, "rule": [expiring(2192)]} for name in ("earlier", "later", "new")
    },
}


def changed() -> Resources:
    """Return the resources with changes that destroy data, and others that do not."""
    made = copy.deepcopy(DEPLOYED)
    tables = made["aws_dynamodb_table"]
    del tables["moved"]["replica"]
    tables["rekeyed"]["replica"][0]["kms_key_arn"] = KEY.replace("key/1", "key/2")
    tables["renamed"]["name"] += "-new"
    tables["tagged"]["tags"] = made["aws_s3_bucket"]["tagged"]["tags"] = {"New": "tag"}
    made["aws_s3_bucket"]["renamed"]["bucket"] += "-new"
    made["aws_kms_key"]["replaced"]["multi_region"] = True
    made["aws_cloudwatch_log_group"]["shortened"]["retention_in_days"] = 30
    del made["aws_cloudwatch_log_group"]["short"]
    del made["aws_route53_zone"]
    lifecycles = made["aws_s3_bucket_lifecycle_configuration"]
    lifecycles["earlier"]["rule"] = [expiring(365)]
    lifecycles["later"]["rule"] = [expiring(3653)]
    lifecycles["new"]["rule"].append({**expiring(2191), "id": "more"})
    return made


def state() -> dict[str, Any]:
    """Return the state of the deployed resources, in Terraform's format 4."""
    provider = 'provider["registry.terraform.io/hashicorp/aws"]'
    resources = [
        {
            "mode": "managed", "type": kind, "name": name, "provider": provider,
            "instances": [
                {"schema_version": SCHEMA_VERSIONS.get(kind, 0), "attributes": {"id": name, **attributes}}
            ],
        }
        for kind, found in DEPLOYED.items()
        for name, attributes in found.items()
    ]  # fmt: skip
    return {"version": 4, "terraform_version": "1.10.0", "serial": 1, "lineage": "a", "resources": resources}


@pytest.mark.requirement("D6", "R3.4")
def test_destroyed_data_is_found_in_a_plan_of_the_real_provider(tmp_path: Path) -> None:
    settings, terraform = terraform_in(tmp_path)
    unchecked = dict.fromkeys(
        ("skip_credentials_validation", "skip_requesting_account_id", "skip_metadata_api_check"), True
    )
    configuration = {
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws", "version": PROVIDER_VERSION}}},
        "provider": {"aws": [{"region": settings.primary_region, **unchecked}]},
        "resource": changed(),
    }
    workspace = Workspace(root=tmp_path, stack=GLOBAL)
    workspace.folder.mkdir()
    (workspace.folder / "cdk.tf.json").write_text(json.dumps(configuration), encoding="utf-8")
    (workspace.folder / "terraform.tfstate").write_text(json.dumps(state()), encoding="utf-8")
    terraform.init(workspace)
    planned = subprocess.run(
        [terraform.binary, "plan", "-refresh=false", "-json", "-input=false", f"-out={PLAN_FILE}"],
        cwd=workspace.folder,
        env=dict(terraform.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert planned.returncode == 0, planned.stdout
    changes = [event for line in planned.stdout.splitlines() if isinstance(event := parse(line), PlannedChange)]
    found = protected_changes(GLOBAL, terraform.show_plan(workspace))
    assert {(change.address.removeprefix(f"{GLOBAL}:"), change.action) for change in found} == {
        ("aws_dynamodb_table.moved.replica.us-west-2", "destroy"),
        ("aws_dynamodb_table.rekeyed.replica.us-west-2", "replace"),
        ("aws_dynamodb_table.renamed", "replace"),
        ("aws_s3_bucket.renamed", "replace"),
        ("aws_kms_key.replaced", "replace"),
        ("aws_route53_zone.removed", "destroy"),
        ("aws_cloudwatch_log_group.shortened", "shorten"),
        ("aws_s3_bucket_lifecycle_configuration.earlier", "shorten"),
        ("aws_s3_bucket_lifecycle_configuration.new", "shorten"),
    }
    # The event stream decides whether a plan is inspected.
    for change in found:
        address = change.address.removeprefix(f"{GLOBAL}:").partition(".replica.")[0]
        assert may_destroy([event for event in changes if event.address == address])
    assert {event.address for event in changes} > {"aws_dynamodb_table.tagged", "aws_s3_bucket.tagged"}

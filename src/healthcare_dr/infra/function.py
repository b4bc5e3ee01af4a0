"""A Lambda function as every function of the platform is: one zip, a role and a log group of its own, the key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdktn import AssetType, ITerraformDependable, TerraformAsset, TerraformStack
from cdktn_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.lambda_function import LambdaFunction, LambdaFunctionEnvironment

from healthcare_dr.infra.site import Site


@dataclass(frozen=True)
class FunctionCode:
    """The zip that Lambda runs, and its SHA-256 as Lambda states it (base64)."""

    path: Path
    sha256_base64: str


@dataclass(frozen=True)
class Asset:
    """The zip as it lies beside a stack's JSON: `filename` is relative to it."""

    filename: str
    sha256_base64: str


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What distinguishes one function from the others. `published`: it is called through an alias of a version."""

    name: str
    handler: str
    description: str
    memory_mb: int
    timeout_seconds: int
    published: bool = False

    @property
    def identifier(self) -> str:
        """How the stack calls it."""
        return self.name.replace("-", "_")


def code_asset(stack: TerraformStack, code: FunctionCode) -> Asset:
    """The zip, put beside the stack once for all its functions."""
    placed = TerraformAsset(stack, "patient_api_package", path=str(code.path), type=AssetType.FILE)
    return Asset(filename=placed.path, sha256_base64=code.sha256_base64)


def lambda_function(
    stack: TerraformStack,
    site: Site,
    shape: Shape,
    *,
    asset: Asset,
    role: IamRole,
    key: KmsKey,
    after: Sequence[ITerraformDependable],
    variables: Mapping[str, str] | None = None,
) -> LambdaFunction:
    """The function, and before it the log group that Lambda would else create, unencrypted (trap 38).

    `after` holds what else has to exist before the function is created, `variables` what its environment has that
    those of the others have not.
    """
    name = site.names.of(shape.name)
    log_group = CloudwatchLogGroup(
        stack,
        f"{shape.identifier}_log_group",
        name=site.names.lambda_log_group(name),
        retention_in_days=site.settings.log_retention_days,
        kms_key_id=key.arn,
    )
    return LambdaFunction(
        stack,
        shape.identifier,
        function_name=name,
        description=shape.description,
        role=role.arn,
        runtime="python3.13",
        architectures=["arm64"],
        handler=shape.handler,
        filename=asset.filename,
        source_code_hash=asset.sha256_base64,
        memory_size=shape.memory_mb,
        timeout=shape.timeout_seconds,
        publish=shape.published,
        kms_key_arn=key.arn,
        environment=LambdaFunctionEnvironment(
            variables={
                "RECORDS_TABLE": site.names.records_table,
                "AUDIT_TABLE": site.names.audit_table,
                "DOCUMENTS_BUCKET": site.documents_bucket,
                "KEY_ARN": key.arn,
                "PEER_REGION": site.peer_region,
                "PEER_DOCUMENTS_BUCKET": site.peer_documents_bucket,
                "PEER_ROLE_ARN": site.role_arn("documents-peer", site.peer_region),
                "INDEX_KEY_ALIAS": site.names.index_key_alias(),
                "LOG_LEVEL": site.settings.log_level,
                **(variables or {}),
            }
        ),
        tags={"DataClass": "phi"},
        depends_on=[log_group, *after],
    )

"""The roles of a region: what the API may do, and what the peer's API may do here."""

from dataclasses import dataclass

from cdktn import ITerraformDependable, TerraformStack
from cdktn_provider_aws.iam_policy import IamPolicy
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy_attachment import IamRolePolicyAttachment

from healthcare_dr.infra import policy
from healthcare_dr.infra.site import Site

BASIC_EXECUTION = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
READ_DOCUMENTS = ("s3:GetObject", "s3:GetObjectVersion")
WRITE_DOCUMENTS = ("s3:AbortMultipartUpload", "s3:PutObject")


@dataclass(frozen=True)
class Roles:
    """The API's own role, and the one that the peer's API role may take."""

    api: IamRole
    documents_peer: IamRole


def roles(stack: TerraformStack, site: Site) -> Roles:
    """Both roles, without the permissions: those name the key, whose policy names these roles."""
    api = IamRole(
        stack,
        "api_role",
        name=site.names.of("patient-api", site.region),
        assume_role_policy=policy.trust_service("lambda.amazonaws.com"),
    )
    peer = IamRole(
        stack,
        "documents_peer_role",
        name=site.names.of("documents-peer", site.region),
        description=f"Lets the API of {site.peer_region} read and write documents of {site.region}",
        assume_role_policy=policy.trust_roles(site.account, [site.role_arn("patient-api", site.peer_region)]),
    )
    return Roles(api=api, documents_peer=peer)


def grant(stack: TerraformStack, site: Site, granted: Roles, *, key_arn: str) -> list[ITerraformDependable]:
    """Attach to each role what it needs and nothing more; returns what the API's function has to wait for."""
    api = _attach(stack, site, "patient-api", granted.api, _api_policy(site, key_arn))
    _attach(stack, site, "documents-peer", granted.documents_peer, _peer_policy(site, key_arn))
    basic = IamRolePolicyAttachment(stack, "basic_execution", role=granted.api.name, policy_arn=BASIC_EXECUTION)
    return [api, basic]


def _attach(stack: TerraformStack, site: Site, name: str, role: IamRole, document: str) -> IamRolePolicyAttachment:
    identifier = name.replace("-", "_")
    managed = IamPolicy(stack, f"{identifier}_policy", name=site.names.of(name, site.region), policy=document)
    return IamRolePolicyAttachment(stack, f"{identifier}_permissions", role=role.name, policy_arn=managed.arn)


def _api_policy(site: Site, key_arn: str) -> str:
    records, audit = site.table_arns
    return policy.document(
        # No update and no delete: records are append-only, and an audit item is never changed.
        policy.allow(
            "Records",
            ("dynamodb:ConditionCheckItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"),
            (records, f"{records}/index/*"),
        ),
        policy.allow("Audit", ("dynamodb:PutItem", "dynamodb:Query"), (audit, f"{audit}/index/*")),
        policy.allow("DocumentsBucket", ["s3:ListBucket"], site.documents_arn),
        policy.allow("Documents", (*READ_DOCUMENTS, *WRITE_DOCUMENTS), f"{site.documents_arn}/*"),
        policy.allow("Key", policy.KEY_USE, key_arn),
        policy.allow("DocumentsOfThePeer", ["sts:AssumeRole"], site.role_arn("documents-peer", site.peer_region)),
    )


def _peer_policy(site: Site, key_arn: str) -> str:
    return policy.document(
        policy.allow("DocumentsBucket", ["s3:ListBucket"], site.documents_arn),
        policy.allow("Documents", (*READ_DOCUMENTS, *WRITE_DOCUMENTS), f"{site.documents_arn}/*"),
        policy.allow("Key", policy.KEY_USE, key_arn),
    )

"""The roles of a region: one for each function, and the one that the peer's functions may take here."""

from dataclasses import dataclass

from cdktn import ITerraformDependable, TerraformStack
from cdktn_provider_aws.iam_policy import IamPolicy
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy_attachment import IamRolePolicyAttachment

from healthcare_dr.infra import policy, privileges
from healthcare_dr.infra.site import Site

BASIC_EXECUTION = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The role of each function, and the one that the peer's functions may take."""

    api: IamRole
    confirmation: IamRole
    reconciliation: IamRole
    sentinel: IamRole
    documents_peer: IamRole


@dataclass(frozen=True, kw_only=True)
class Permissions:
    """What each function has to wait for: without it, its first calls would be refused."""

    api: list[ITerraformDependable]
    confirmation: list[ITerraformDependable]
    reconciliation: list[ITerraformDependable]
    sentinel: list[ITerraformDependable]


def roles(stack: TerraformStack, site: Site) -> Roles:
    """All roles, without the permissions: those name the key, whose policy names these roles."""
    peers = [site.role_arn(name, site.peer_region) for name in ("patient-api", "confirmation")]
    return Roles(
        api=_function_role(stack, site, "api_role", "patient-api"),
        # A role's name takes 64 characters, so it is shorter than the function's.
        confirmation=_function_role(stack, site, "confirmation_role", "confirmation"),
        reconciliation=_function_role(stack, site, "reconciliation_role", "reconciliation"),
        sentinel=_function_role(stack, site, "sentinel_role", "sentinel"),
        documents_peer=IamRole(
            stack,
            "documents_peer_role",
            name=site.names.of("documents-peer", site.region),
            description=f"Lets the functions of {site.peer_region} read and write documents of {site.region}",
            assume_role_policy=policy.trust_roles(site.account, peers),
        ),
    )


def grant(stack: TerraformStack, site: Site, granted: Roles, *, key_arn: str) -> Permissions:
    """Attach to each role what it needs and nothing more."""
    _attach(stack, site, "documents-peer", granted.documents_peer, privileges.documents_peer(site, key_arn))
    return Permissions(
        api=[
            _attach(stack, site, "patient-api", granted.api, privileges.api(site, key_arn)),
            _basic(stack, "basic_execution", granted.api),
        ],
        confirmation=[
            _attach(stack, site, "confirmation", granted.confirmation, privileges.confirmation(site, key_arn)),
            _basic(stack, "confirmation_basic_execution", granted.confirmation),
        ],
        reconciliation=[
            _attach(stack, site, "reconciliation", granted.reconciliation, privileges.reconciliation(site, key_arn)),
            _basic(stack, "reconciliation_basic_execution", granted.reconciliation),
        ],
        sentinel=[
            _attach(stack, site, "sentinel", granted.sentinel, privileges.sentinel(site, key_arn)),
            _basic(stack, "sentinel_basic_execution", granted.sentinel),
        ],
    )


def _function_role(stack: TerraformStack, site: Site, identifier: str, name: str) -> IamRole:
    return IamRole(
        stack,
        identifier,
        name=site.names.of(name, site.region),
        assume_role_policy=policy.trust_service("lambda.amazonaws.com"),
    )


def _attach(stack: TerraformStack, site: Site, name: str, role: IamRole, document: str) -> IamRolePolicyAttachment:
    identifier = name.replace("-", "_")
    managed = IamPolicy(stack, f"{identifier}_policy", name=site.names.of(name, site.region), policy=document)
    return IamRolePolicyAttachment(stack, f"{identifier}_permissions", role=role.name, policy_arn=managed.arn)


def _basic(stack: TerraformStack, identifier: str, role: IamRole) -> IamRolePolicyAttachment:
    return IamRolePolicyAttachment(stack, identifier, role=role.name, policy_arn=BASIC_EXECUTION)

"""The KMS keys of a region: the customer managed key of its data, and the key that derives shared secrets.

The second key computes message authentication codes for the search index and for cursors, equal in both regions. It
never leaves KMS, so no secret is in a state, a variable or the synthesized JSON. KMS does not rotate keys for codes,
and a code must stay the same (https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html).
"""

from cdktn import TerraformStack
from cdktn_provider_aws.kms_alias import KmsAlias
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.kms_replica_key import KmsReplicaKey

from healthcare_dr.infra import policy
from healthcare_dr.infra.region_context import RegionContext
from healthcare_dr.infra.roles import Roles, through

ADMINISTRATION = (
    "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:Delete*", "kms:Describe*", "kms:Disable*", "kms:Enable*",
    "kms:Get*", "kms:List*", "kms:Put*", "kms:Revoke*", "kms:RotateKeyOnDemand", "kms:ScheduleKeyDeletion",
    "kms:TagResource", "kms:UntagResource", "kms:Update*",
)  # fmt: skip
PUBLISH = ("kms:Decrypt", "kms:GenerateDataKey*")
DELETION_WINDOW_DAYS = 7


def data_key(stack: TerraformStack, site: RegionContext, roles: Roles) -> KmsKey:
    """The key that encrypts everything of this region at rest, with its alias."""
    key = KmsKey(
        stack,
        "data_key",
        description=f"Encrypts patient data of healthcare-dr at rest in {site.region}",
        enable_key_rotation=True,
        deletion_window_in_days=DELETION_WINDOW_DAYS,
        policy=_key_policy(site, roles),
        tags={"Name": site.names.of("data", site.region), "DataClass": "phi"},
    )
    KmsAlias(stack, "data_key_alias", name=site.names.key_alias(), target_key_id=key.key_id)
    return key


def _key_policy(site: RegionContext, roles: Roles) -> str:
    root = {"AWS": policy.account_root(site.account)}
    here = {"aws:SourceAccount": site.account}
    trail = site.regional_arn("cloudtrail", f"trail/{site.names.of('data-events')}")
    return policy.document(
        # The account administers the key and cannot use it: use is granted below, principal by principal.
        policy.allow("Administration", ADMINISTRATION, "*", principal=root),
        policy.allow("ApiRole", policy.KEY_USE, "*", principal={"AWS": roles.api.arn}),
        policy.allow(
            "ConfirmationRole", policy.KEY_USE, "*", principal={"AWS": roles.confirmation.arn},
            condition=through(site, "dynamodb", "s3", "sns"),
        ),
        policy.allow(
            "ReconciliationRole", policy.KEY_USE, "*", principal={"AWS": roles.reconciliation.arn},
            condition=through(site, "dynamodb", "sns"),
        ),
        policy.allow(
            "SentinelRole", policy.KEY_USE, "*", principal={"AWS": roles.sentinel.arn},
            condition=through(site, "dynamodb"),
        ),
        policy.allow(
            "PeerDocumentsRole", policy.KEY_USE, "*", principal=root,
            condition={
                "ArnEquals": {"aws:PrincipalArn": site.role_arn("documents-peer", site.region)},
                "StringEquals": {"kms:ViaService": f"s3.{site.region}.amazonaws.com"},
            },
        ),
        policy.allow(
            "DocumentReplication", policy.KEY_USE, "*", principal=root,
            condition={
                "ArnEquals": {
                    "aws:PrincipalArn": [
                        site.role_arn("replication", site.region), site.role_arn("replication", site.peer_region)
                    ]
                },
                "StringEquals": {"kms:ViaService": f"s3.{site.region}.amazonaws.com"},
            },
        ),
        policy.allow(
            "TablesOfThisAccount", (*policy.KEY_USE, "kms:CreateGrant"), "*", principal=root,
            condition={
                "StringEquals": {
                    "kms:CallerAccount": site.account,
                    "kms:ViaService": f"dynamodb.{site.region}.amazonaws.com",
                }
            },
        ),
        policy.allow(
            "FunctionEnvironment", (*policy.KEY_USE, "kms:CreateGrant"), "*", principal=root,
            condition={
                "StringEquals": {
                    "kms:CallerAccount": site.account,
                    "kms:ViaService": f"lambda.{site.region}.amazonaws.com",
                }
            },
        ),
        policy.allow(
            "LogGroups", policy.KEY_USE, "*", principal={"Service": f"logs.{site.region}.amazonaws.com"},
            condition={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": site.regional_arn("logs", "log-group:*")}},
        ),
        policy.allow(
            "Alarms", PUBLISH, "*", principal={"Service": "cloudwatch.amazonaws.com"},
            condition={"StringEquals": here},
        ),
        policy.allow(
            "Topics", PUBLISH, "*", principal={"Service": "sns.amazonaws.com"}, condition={"StringEquals": here}
        ),
        policy.allow(
            "ReplicationEvents", PUBLISH, "*", principal={"Service": "s3.amazonaws.com"},
            condition={"StringEquals": here},
        ),
        policy.allow(
            # Decrypt, because the trail's bucket has a bucket key.
            "Trail", ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*"), "*",
            principal={"Service": "cloudtrail.amazonaws.com"},
            condition={"StringEquals": {"aws:SourceArn": trail}},
        ),
        policy.allow(
            "TrailReaders", ["kms:Decrypt"], "*", principal=root,
            condition={
                "StringEquals": {
                    "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{site.trail_bucket}",
                    "kms:ViaService": f"s3.{site.region}.amazonaws.com",
                }
            },
        ),
    )  # fmt: skip


DERIVE = ("kms:GenerateMac",)


def index_key(stack: TerraformStack, sites: tuple[RegionContext, RegionContext]) -> None:
    """The multi-Region key in the primary region, its replica in the other, and the same alias for each."""
    primary, secondary = sites
    key = KmsKey(
        stack,
        "index_key",
        description="Derives the secrets of healthcare-dr's search index and cursors",
        key_usage="GENERATE_VERIFY_MAC",
        customer_master_key_spec="HMAC_256",
        multi_region=True,
        deletion_window_in_days=DELETION_WINDOW_DAYS,
        policy=_key_policy_index_key(primary),
        tags=_tags(primary),
        provider=primary.provider,
    )
    replica = KmsReplicaKey(
        stack,
        "index_key_replica",
        primary_key_arn=key.arn,
        description=f"Derives the same secrets in {secondary.region}",
        deletion_window_in_days=DELETION_WINDOW_DAYS,
        policy=_key_policy_index_key(secondary),
        tags=_tags(secondary),
        provider=secondary.provider,
    )
    for site, key_id in ((primary, key.key_id), (secondary, replica.key_id)):
        KmsAlias(
            stack,
            f"index_key_alias_{site.role}",
            name=site.names.index_key_alias(),
            target_key_id=key_id,
            provider=site.provider,
        )


def _key_policy_index_key(site: RegionContext) -> str:
    return policy.document(
        # The account administers the key, replicates it, and cannot use it.
        policy.allow(
            "Administration",
            (*ADMINISTRATION, "kms:ReplicateKey"),
            "*",
            principal={"AWS": policy.account_root(site.account)},
        ),
        # What the workers write carries nothing that is searched for, so only the API needs the secrets.
        policy.allow("Derivation", DERIVE, "*", principal={"AWS": [site.role_arn("patient-api", site.region)]}),
    )


def _tags(site: RegionContext) -> dict[str, str]:
    return {"Name": site.names.of("index", site.region), "DataClass": "phi"}

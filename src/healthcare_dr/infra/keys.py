"""The KMS keys of a region: the customer managed key of its data, and the key that derives shared secrets.

The second key computes message authentication codes for the search index and for cursors, equal in both regions. It
never leaves KMS, so no secret is in a state, a variable or the synthesized JSON. KMS does not rotate keys for codes,
and a code must stay the same (https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html).
"""

from collections.abc import Mapping, Sequence

from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.kms_alias import KmsAlias
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.kms_replica_key import KmsReplicaKey

from healthcare_dr.infra import policy
from healthcare_dr.infra.notifications import keeps_undelivered
from healthcare_dr.infra.policy import Condition, Statement
from healthcare_dr.infra.region_context import RegionContext, Sites
from healthcare_dr.infra.roles import PEER_ROLE, through

ADMINISTRATION = (
    "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:Delete*", "kms:Describe*", "kms:Disable*", "kms:Enable*",
    "kms:Get*", "kms:List*", "kms:Put*", "kms:Revoke*", "kms:RotateKeyOnDemand", "kms:ScheduleKeyDeletion",
    "kms:TagResource", "kms:UntagResource", "kms:Update*",
)  # fmt: skip
PUBLISH = ("kms:Decrypt", "kms:GenerateDataKey*")
DELETION_WINDOW_DAYS = 7


def data_key(site: RegionContext, roles: Mapping[str, IamRole]) -> KmsKey:
    """Create the key that encrypts all data of this region at rest, with its alias."""
    key = KmsKey(
        site.stack,
        "data_key",
        description=f"Encrypts patient data of healthcare-dr at rest in {site.region}",
        enable_key_rotation=True,
        deletion_window_in_days=DELETION_WINDOW_DAYS,
        policy=_key_policy(site, roles),
        tags={"Name": site.names.of("data", site.region), "DataClass": "phi"},
    )
    KmsAlias(site.stack, "data_key_alias", name=site.names.key_alias(), target_key_id=key.key_id)
    return key


def _key_policy(site: RegionContext, roles: Mapping[str, IamRole]) -> str:
    account = {"AWS": policy.account_root(site.account)}
    trail = site.regional_arn("cloudtrail", f"trail/{site.names.of('data-events')}")

    def role(sid: str, name: str, *services: str) -> Statement:
        condition = through(site, *services) if services else None
        return policy.allow(sid, policy.KEY_USE, "*", principal={"AWS": roles[name].arn}, condition=condition)

    def roles_by_arn(sid: str, arns: str | list[str]) -> Statement:
        condition: Condition = {
            "ArnEquals": {"aws:PrincipalArn": arns},
            "StringEquals": {"kms:ViaService": via("s3")},
        }
        return policy.allow(sid, policy.KEY_USE, "*", principal=account, condition=condition)

    def grantor(sid: str, name: str) -> Statement:
        condition = {"StringEquals": {"kms:CallerAccount": site.account, "kms:ViaService": via(name)}}
        return policy.allow(sid, (*policy.KEY_USE, "kms:CreateGrant"), "*", principal=account, condition=condition)

    def users(sid: str, name: str, *actions: str) -> Statement:
        condition = {"StringEquals": {"kms:CallerAccount": site.account, "kms:ViaService": via(name)}}
        return policy.allow(sid, actions, "*", principal=account, condition=condition)

    def service(sid: str, name: str, actions: Sequence[str], condition: Condition) -> Statement:
        return policy.allow(sid, actions, "*", principal={"Service": f"{name}.amazonaws.com"}, condition=condition)

    def via(name: str) -> str:
        return f"{name}.{site.region}.amazonaws.com"

    here: Condition = {"StringEquals": {"aws:SourceAccount": site.account}}
    logs: Condition = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": site.regional_arn("logs", "log-group:*")}}
    trail_bucket = f"arn:aws:s3:::{site.trail_bucket}"
    trail_objects: Condition = {
        # Objects that CloudTrail wrote without the bucket key have a context of their own.
        "ArnLike": {"kms:EncryptionContext:aws:s3:arn": [trail_bucket, f"{trail_bucket}/*"]},
        "StringEquals": {"kms:ViaService": via("s3")},
    }
    replication = [site.role_arn("replication", region) for region in (site.region, site.peer_region)]
    return policy.document(
        # The account administers the key and cannot use it: each use is granted below.
        policy.allow("Administration", ADMINISTRATION, "*", principal=account),
        role("ApiRole", "patient-api"),
        role("ConfirmationRole", "confirmation", "dynamodb", "s3", "sns"),
        role("ReconciliationRole", "reconciliation", "dynamodb", "sns"),
        role("SentinelRole", "sentinel", "dynamodb"),
        roles_by_arn("PeerDocumentsRole", site.role_arn(PEER_ROLE, site.region)),
        roles_by_arn("DocumentReplication", replication),
        grantor("TablesOfThisAccount", "dynamodb"),
        grantor("FunctionEnvironment", "lambda"),
        service("LogGroups", f"logs.{site.region}", policy.KEY_USE, logs),
        service("Alarms", "cloudwatch", PUBLISH, here),
        service("Topics", "sns", PUBLISH, here),
        service("ReplicationEvents", "s3", PUBLISH, here),
        # The trail decrypts because its bucket has a bucket key.
        service(
            "Trail",
            "cloudtrail",
            ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*"),
            {"StringEquals": {"aws:SourceArn": trail}},
        ),
        policy.allow("TrailReaders", ["kms:Decrypt"], "*", principal=account, condition=trail_objects),
        *([users("UndeliveredReaders", "sqs", "kms:Decrypt")] if keeps_undelivered(site.settings) else []),
        *(
            [
                role("RelayRole", "relay", "ssm", "sqs"),
                users("WebhooksParameter", "ssm", "kms:Decrypt", "kms:Encrypt"),
            ]
            if site.settings.operations_webhooks
            else []
        ),
    )


DERIVE = ("kms:GenerateMac",)


def index_key(sites: Sites) -> None:
    """Create the multi-Region key in the primary region, its replica in the other, and the same alias for each."""
    primary, secondary = sites
    key = KmsKey(
        primary.stack,
        "index_key",
        description="Derives the secrets of healthcare-dr's search index and cursors",
        key_usage="GENERATE_VERIFY_MAC",
        customer_master_key_spec="HMAC_256",
        multi_region=True,
        deletion_window_in_days=DELETION_WINDOW_DAYS,
        policy=_index_key_policy(primary),
        tags=_tags(primary),
        provider=primary.provider,
    )
    replica = KmsReplicaKey(
        primary.stack,
        "index_key_replica",
        primary_key_arn=key.arn,
        description=f"Derives the same secrets in {secondary.region}",
        deletion_window_in_days=DELETION_WINDOW_DAYS,
        policy=_index_key_policy(secondary),
        tags=_tags(secondary),
        provider=secondary.provider,
    )
    for site, key_id in ((primary, key.key_id), (secondary, replica.key_id)):
        KmsAlias(
            primary.stack,
            f"index_key_alias_{site.role}",
            name=site.names.index_key_alias(),
            target_key_id=key_id,
            provider=site.provider,
        )


def _index_key_policy(site: RegionContext) -> str:
    return policy.document(
        # The account administers the key, replicates it, and cannot use it.
        policy.allow(
            "Administration",
            (*ADMINISTRATION, "kms:ReplicateKey"),
            "*",
            principal={"AWS": policy.account_root(site.account)},
        ),
        # Only the API writes and reads index items, so only the API needs the secrets.
        policy.allow("Derivation", DERIVE, "*", principal={"AWS": [site.role_arn("patient-api", site.region)]}),
    )


def _tags(site: RegionContext) -> dict[str, str]:
    return {"Name": site.names.of("index", site.region), "DataClass": "phi"}

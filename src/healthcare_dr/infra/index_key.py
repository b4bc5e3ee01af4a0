"""The key from which both regions derive the same secrets, for the search index and for cursors.

It computes message authentication codes and never leaves KMS, so that no secret is in a state, in a variable or in
these bytes. KMS rotates keys for encryption only, not those for codes, which must give the same code tomorrow
(https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html).
"""

from cdktn import TerraformStack
from cdktn_provider_aws.kms_alias import KmsAlias
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.kms_replica_key import KmsReplicaKey

from healthcare_dr.infra import policy
from healthcare_dr.infra.keys import ADMINISTRATION, DELETION_WINDOW_DAYS
from healthcare_dr.infra.site import Site

DERIVE = ("kms:GenerateMac",)


def index_key(stack: TerraformStack, sites: tuple[Site, Site]) -> None:
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
        policy=_key_policy(primary),
        tags=_tags(primary),
        provider=primary.provider,
    )
    replica = KmsReplicaKey(
        stack,
        "index_key_replica",
        primary_key_arn=key.arn,
        description=f"Derives the same secrets in {secondary.region}",
        deletion_window_in_days=DELETION_WINDOW_DAYS,
        policy=_key_policy(secondary),
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


def _key_policy(site: Site) -> str:
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


def _tags(site: Site) -> dict[str, str]:
    return {"Name": site.names.of("index", site.region), "DataClass": "phi"}

"""All that spans the regions and needs one owner."""

from cdktn import Fn
from cdktn_provider_aws.data_aws_apigatewayv2_apis import DataAwsApigatewayv2Apis
from cdktn_provider_aws.data_aws_kms_alias import DataAwsKmsAlias
from constructs import Construct

from healthcare_dr.infra.alarms import health_check_alarms
from healthcare_dr.infra.dashboards import dashboard
from healthcare_dr.infra.documents import document_buckets
from healthcare_dr.infra.domain import custom_domain
from healthcare_dr.infra.index_key import index_key
from healthcare_dr.infra.peering import peer
from healthcare_dr.infra.site import Site
from healthcare_dr.infra.stacks.base import PlatformStack
from healthcare_dr.infra.streams import reconciled, watched
from healthcare_dr.infra.tables import audit_table, records_table
from healthcare_dr.infra.traffic import hosted_zone, region_health, weighted_records
from healthcare_dr.naming import GLOBAL
from healthcare_dr.settings import Settings


class GlobalStack(PlatformStack):
    """Tables, buckets, index key, peering, DNS, dashboards: applied once what it finds in both regions exists."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, GLOBAL, settings)
        primary_provider = self._provider("aws", settings.primary_region)
        secondary_provider = self._provider("aws_secondary", settings.secondary_region, alias="secondary")
        account = self._account(primary_provider)
        owner = Site(settings=settings, role="primary", account=account, provider=primary_provider)
        other = Site(settings=settings, role="secondary", account=account, provider=secondary_provider)
        sites = (owner, other)
        keys = {site.role: self._key_arn(site) for site in sites}
        api_ids = {site.role: self._api_id(site) for site in sites}

        records = records_table(self, owner, key_arn=keys["primary"], replica_key_arn=keys["secondary"])
        audit = audit_table(self, owner, key_arn=keys["primary"], replica_key_arn=keys["secondary"])
        reconciled(self, sites, records)
        watched(self, sites, audit)
        index_key(self, sites)
        buckets = document_buckets(self, sites, (keys["primary"], keys["secondary"]))
        peer(self, sites)

        hosts = {site.role: f"{api_ids[site.role]}.execute-api.{site.region}.amazonaws.com" for site in sites}
        zone = hosted_zone(self, owner)
        health = region_health(self, sites, hosts)
        targets, after = hosts, []
        if settings.dns_delegated:
            served = {site.role: custom_domain(self, site, zone, api_id=api_ids[site.role]) for site in sites}
            targets = {role: domain.target for role, domain in served.items()}
            after = [domain.mapping for domain in served.values()]
        weighted_records(self, sites, zone, targets, health.verdicts, after=after)
        watcher = owner if owner.region == "us-east-1" else other
        health_check_alarms(self, watcher, sites, health)
        boards = [dashboard(self, site, api_id=api_ids[site.role], health=health) for site in sites]

        self._outputs(
            {
                "records_table": records.name,
                "audit_table": audit.name,
                "documents_bucket_primary": buckets[0].bucket.bucket,
                "documents_bucket_secondary": buckets[1].bucket.bucket,
                "zone_id": zone.zone_id,
                "name_servers": Fn.join(",", zone.name_servers),
                "api_domain": owner.names.api_domain,
                "health_check_primary": health.verdicts["primary"].id,
                "health_check_secondary": health.verdicts["secondary"].id,
                "dashboard_primary": boards[0],
                "dashboard_secondary": boards[1],
            }
        )

    def _key_arn(self, site: Site) -> str:
        return DataAwsKmsAlias(
            self, f"data_key_{site.role}", name=site.names.key_alias(), provider=site.provider
        ).target_key_arn

    def _api_id(self, site: Site) -> str:
        found = DataAwsApigatewayv2Apis(
            self,
            f"patient_http_api_{site.role}",
            name=site.names.of("patient-api", site.region),
            provider=site.provider,
        )
        return f"${{one({found.fqn}.ids)}}"

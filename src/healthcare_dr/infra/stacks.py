"""The three stacks: one per region, and the global stack that owns what spans the regions.

All stacks have the same providers, tags, backend and outputs. The regional stacks differ in their arguments only.
"""

from cdktn import Fn, LocalBackend, S3Backend, TerraformOutput, TerraformStack
from cdktn_provider_aws.data_aws_apigatewayv2_apis import DataAwsApigatewayv2Apis
from cdktn_provider_aws.data_aws_caller_identity import DataAwsCallerIdentity
from cdktn_provider_aws.data_aws_kms_alias import DataAwsKmsAlias
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.provider import AwsProvider, AwsProviderDefaultTags
from constructs import Construct

from healthcare_dr.infra.alarms import MonitoredApi, health_check_alarms, regional_alarms
from healthcare_dr.infra.api import patient_api
from healthcare_dr.infra.dashboards import dashboard
from healthcare_dr.infra.dns import custom_domain, hosted_zone, region_health, weighted_records
from healthcare_dr.infra.documents import document_buckets
from healthcare_dr.infra.fault_injection import fault_injection
from healthcare_dr.infra.functions import FunctionCode, Functions, read_streams
from healthcare_dr.infra.keys import data_key, index_key
from healthcare_dr.infra.network import flow_logs, network, peer, security_groups
from healthcare_dr.infra.notifications import operations_topic, relay_subscription
from healthcare_dr.infra.region_context import RegionContext, Role
from healthcare_dr.infra.roles import PEER_ROLE, grant, roles
from healthcare_dr.infra.tables import audit_table, records_table
from healthcare_dr.infra.trail import data_event_trail
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from healthcare_dr.settings import ROUTE53_METRICS_REGION, Settings
from patient_api.contract.functions import FUNCTIONS, RECONCILE, RELAY

DEFAULT_TAGS = {"Environment": "Production", "DisasterRecovery": "Enabled"}
PROVIDER_VERSIONS = ">= 5.100, < 7.0"


class PlatformStack(TerraformStack):
    """A stack of the platform, with its own state."""

    def __init__(self, scope: Construct, name: str, settings: Settings) -> None:
        super().__init__(scope, name)
        self._settings = settings
        self.add_override("terraform.required_providers.aws.version", PROVIDER_VERSIONS)
        self.add_override("terraform.required_version", ">= 1.10")
        self._keep_state(name)

    def _keep_state(self, name: str) -> None:
        bucket = self._settings.state_bucket
        if bucket is None:
            LocalBackend(self, path="terraform.tfstate")
            return
        # In the region that survives the loss of us-east-1 (trap 37).
        S3Backend(
            self,
            bucket=bucket,
            key=f"{self._settings.environment_suffix}/{name}.tfstate",
            region=self._settings.state_region,
            encrypt=True,
            use_lockfile=True,
        )

    def _provider(self, identifier: str, region: str, *, alias: str | None = None) -> AwsProvider:
        return AwsProvider(
            self,
            identifier,
            region=region,
            alias=alias,
            default_tags=[AwsProviderDefaultTags(tags=DEFAULT_TAGS)],
        )

    def _account(self, provider: AwsProvider) -> str:
        return DataAwsCallerIdentity(self, "account", provider=provider).account_id

    def _bound_roles(self, account: str) -> None:
        """Give every role the permissions boundary of the pipeline, if there is one."""
        if self._settings.github_repository is None:
            return
        name = self._settings.names.of_pipeline("boundary")
        for child in self.node.find_all():
            if isinstance(child, IamRole):
                child.permissions_boundary = f"arn:aws:iam::{account}:policy/{name}"

    def _outputs(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            output = TerraformOutput(self, f"output_{name}", value=value)
            output.override_logical_id(name)


class GlobalStack(PlatformStack):
    """Tables, buckets, index key, peering, DNS and dashboards: applied after the resources of both regions exist."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, GLOBAL, settings)
        primary_provider = self._provider("aws", settings.primary_region)
        secondary_provider = self._provider("aws_secondary", settings.secondary_region, alias="secondary")
        account = self._account(primary_provider)
        owner = RegionContext(stack=self, settings=settings, role="primary", account=account, provider=primary_provider)
        other = RegionContext(
            stack=self, settings=settings, role="secondary", account=account, provider=secondary_provider
        )
        sites = (owner, other)
        keys = {site.role: self._key_arn(site) for site in sites}
        api_ids = {site.role: self._api_id(site) for site in sites}

        records = records_table(owner, key_arn=keys["primary"], replica_key_arn=keys["secondary"])
        audit = audit_table(owner, key_arn=keys["primary"], replica_key_arn=keys["secondary"])
        read_streams(sites, records=records, audit=audit)
        index_key(sites)
        buckets = document_buckets(sites, (keys["primary"], keys["secondary"]))
        peer(sites)

        hosts = {site.role: f"{api_ids[site.role]}.execute-api.{site.region}.amazonaws.com" for site in sites}
        zone = hosted_zone(owner)
        health = region_health(sites, hosts)
        targets, after = hosts, []
        if settings.dns_delegated:
            served = {site.role: custom_domain(site, zone, api_id=api_ids[site.role]) for site in sites}
            targets = {role: target for role, (target, _) in served.items()}
            after = [mapping for _, mapping in served.values()]
        weighted_records(sites, zone, targets, health, after=after)
        metrics_site = owner if owner.region == ROUTE53_METRICS_REGION else other
        health_check_alarms(metrics_site, sites, health)
        boards = [dashboard(site, api_id=api_ids[site.role], health=health) for site in sites]
        self._bound_roles(account)

        self._outputs(
            {
                "records_table": records.name,
                "audit_table": audit.name,
                "documents_bucket_primary": buckets[0].bucket.bucket,
                "documents_bucket_secondary": buckets[1].bucket.bucket,
                "zone_id": zone.zone_id,
                "name_servers": Fn.join(",", zone.name_servers),
                "api_domain": owner.names.api_domain,
                "health_check_primary": health.calculated["primary"].id,
                "health_check_secondary": health.calculated["secondary"].id,
                "dashboard_primary": boards[0],
                "dashboard_secondary": boards[1],
            }
        )

    def _key_arn(self, site: RegionContext) -> str:
        return DataAwsKmsAlias(
            self, f"data_key_{site.role}", name=site.names.key_alias(), provider=site.provider
        ).target_key_arn

    def _api_id(self, site: RegionContext) -> str:
        found = DataAwsApigatewayv2Apis(
            self,
            f"patient_http_api_{site.role}",
            name=site.names.of("patient-api", site.region),
            provider=site.provider,
        )
        return f"${{one({found.fqn}.ids)}}"


class RegionalStack(PlatformStack):
    """Key, network, roles, functions, API, topic, alarms and trail of one region."""

    def __init__(self, scope: Construct, settings: Settings, *, role: Role, code: FunctionCode) -> None:
        super().__init__(scope, PRIMARY if role == "primary" else SECONDARY, settings)
        region = settings.regions[0 if role == "primary" else 1]
        provider = self._provider("aws", region)
        site = RegionContext(
            stack=self, settings=settings, role=role, account=self._account(provider), provider=provider
        )

        granted = roles(site)
        key = data_key(site, granted)
        permissions = grant(site, granted, key_arn=key.arn)
        placed = network(site)
        groups = security_groups(site, placed.vpc)
        flow_logs(site, placed.vpc, key)
        topic = operations_topic(site, key)
        functions = Functions(site, code=code, key=key)
        confirming = functions.document_confirmation(
            role=granted["confirmation"], topic=topic, after=[permissions["confirmation"]]
        )
        reconciling = functions.create(RECONCILE, role=granted["reconciliation"], after=[permissions["reconciliation"]])
        # The API is created after the functions that process its writes, and destroyed before them.
        after = [permissions["patient-api"], confirming, reconciling]
        api = patient_api(site, functions, role=granted["patient-api"], key=key, after=after)
        # The sentinel calls the API. Without one, its first runs would raise alarms.
        watching = functions.sentinel(
            role=granted["sentinel"], endpoint=api.endpoint(region), after=[permissions["sentinel"], api.function]
        )
        created = (api.function, confirming, reconciling, watching)
        names = {spec.name: function.function_name for spec, function in zip(FUNCTIONS, created, strict=True)}
        regional_alarms(site, MonitoredApi(api.http.id, names), topic)
        if settings.operations_webhooks:
            relaying = functions.create(
                RELAY, role=granted["relay"], after=[permissions["relay"]], webhooks=site.names.of("webhooks")
            )
            relay_subscription(site, topic, relaying)
        data_event_trail(site, key)
        if settings.fault_injection:
            fault_injection(site, placed)
        self._bound_roles(site.account)

        self._outputs(
            {
                "region": region,
                "api_id": api.http.id,
                "api_endpoint": api.endpoint(region),
                "function_name": api.function.function_name,
                "confirmation_function_name": confirming.function_name,
                "reconciliation_function_name": reconciling.function_name,
                "sentinel_function_name": watching.function_name,
                "key_arn": key.arn,
                "topic_arn": topic.arn,
                "vpc_id": placed.vpc.id,
                "lambda_security_group_id": groups["lambda"].id,
                "data_security_group_id": groups["data"].id,
                "documents_peer_role_arn": granted[PEER_ROLE].arn,
            }
        )


__all__ = ["GlobalStack", "PlatformStack", "RegionalStack"]

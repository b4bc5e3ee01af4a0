"""One region by itself: both regions are this stack with different arguments."""

from constructs import Construct

from healthcare_dr.infra.alarm_rules import Watched
from healthcare_dr.infra.alarms import regional_alarms
from healthcare_dr.infra.api import patient_api
from healthcare_dr.infra.faults import fault_injection
from healthcare_dr.infra.firewall import flow_logs, security_groups
from healthcare_dr.infra.function import FunctionCode, code_asset
from healthcare_dr.infra.keys import data_key
from healthcare_dr.infra.network import network
from healthcare_dr.infra.notifications import operations_topic
from healthcare_dr.infra.roles import grant, roles
from healthcare_dr.infra.sentinel import sentinel
from healthcare_dr.infra.site import Role, Site
from healthcare_dr.infra.stacks.base import PlatformStack
from healthcare_dr.infra.trail import data_event_trail
from healthcare_dr.infra.workers import document_confirmation, reconciliation
from healthcare_dr.naming import PRIMARY, SECONDARY
from healthcare_dr.settings import Settings


class RegionalStack(PlatformStack):
    """Key, network, roles, functions, API, topic, alarms and trail of one region."""

    def __init__(self, scope: Construct, settings: Settings, *, role: Role, code: FunctionCode) -> None:
        super().__init__(scope, PRIMARY if role == "primary" else SECONDARY, settings)
        region = settings.regions[0 if role == "primary" else 1]
        provider = self._provider("aws", region)
        site = Site(settings=settings, role=role, account=self._account(provider), provider=provider)

        granted = roles(self, site)
        key = data_key(self, site, granted)
        permissions = grant(self, site, granted, key_arn=key.arn)
        placed = network(self, site)
        groups = security_groups(self, site, placed.vpc)
        flow_logs(self, site, placed.vpc, key)
        topic = operations_topic(self, site, key)
        asset = code_asset(self, code)
        confirming = document_confirmation(
            self,
            site,
            asset=asset,
            role=granted.confirmation,
            key=key,
            topic=topic,
            after=permissions.confirmation,
        )
        reconciling = reconciliation(
            self, site, asset=asset, role=granted.reconciliation, key=key, after=permissions.reconciliation
        )
        # The API is created after the functions that process its writes, and destroyed before them.
        api = patient_api(
            self, site, asset=asset, role=granted.api, key=key, after=[*permissions.api, confirming, reconciling]
        )
        watching = sentinel(
            self,
            site,
            endpoint=api.endpoint(region),
            asset=asset,
            role=granted.sentinel,
            key=key,
            # Its rounds call the API, and one that finds none raises alarms.
            after=[*permissions.sentinel, api.function],
        )
        regional_alarms(
            self,
            site,
            watched=Watched(
                api_id=api.http.id,
                api=api.function.function_name,
                confirmation=confirming.function_name,
                reconciliation=reconciling.function_name,
                sentinel=watching.function_name,
            ),
            topic_arn=topic.arn,
        )
        data_event_trail(self, site, key)
        if settings.fault_injection:
            fault_injection(self, site, placed)

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
                "documents_peer_role_arn": granted.documents_peer.arn,
            }
        )

"""One region by itself: both regions are this stack with different arguments."""

from constructs import Construct

from healthcare_dr.infra.alarms import regional_alarms
from healthcare_dr.infra.api import FunctionCode, patient_api
from healthcare_dr.infra.faults import replication_pause
from healthcare_dr.infra.firewall import flow_logs, security_groups
from healthcare_dr.infra.keys import data_key
from healthcare_dr.infra.network import network
from healthcare_dr.infra.notifications import operations_topic
from healthcare_dr.infra.roles import grant, roles
from healthcare_dr.infra.site import Role, Site
from healthcare_dr.infra.stacks.base import PlatformStack
from healthcare_dr.infra.trail import data_event_trail
from healthcare_dr.naming import PRIMARY, SECONDARY
from healthcare_dr.settings import Settings


class RegionalStack(PlatformStack):
    """Key, network, roles, API, topic, alarms and trail of one region."""

    def __init__(self, scope: Construct, settings: Settings, *, role: Role, code: FunctionCode) -> None:
        super().__init__(scope, PRIMARY if role == "primary" else SECONDARY, settings)
        region = settings.regions[0 if role == "primary" else 1]
        provider = self._provider("aws", region)
        site = Site(settings=settings, role=role, account=self._account(provider), provider=provider)

        granted = roles(self, site)
        key = data_key(self, site, api_role_arn=granted.api.arn)
        permissions = grant(self, site, granted, key_arn=key.arn)
        placed = network(self, site)
        groups = security_groups(self, site, placed.vpc)
        flow_logs(self, site, placed.vpc, key)
        topic = operations_topic(self, site, key)
        api = patient_api(self, site, code=code, role=granted.api, key=key, after=permissions)
        regional_alarms(self, site, function=api.function.function_name, api_id=api.http.id, topic_arn=topic.arn)
        data_event_trail(self, site, key)
        if settings.fault_injection:
            replication_pause(self, site)

        self._outputs(
            {
                "region": region,
                "api_id": api.http.id,
                "api_endpoint": api.endpoint(region),
                "function_name": api.function.function_name,
                "key_arn": key.arn,
                "topic_arn": topic.arn,
                "vpc_id": placed.vpc.id,
                "lambda_security_group_id": groups["lambda"].id,
                "data_security_group_id": groups["data"].id,
                "documents_peer_role_arn": granted.documents_peer.arn,
            }
        )

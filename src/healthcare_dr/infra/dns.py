"""DNS: the zone, the health checks, the weighted records, and the custom domain with its certificates.

A region is healthy when its own endpoint responds and it is not drained. The drain check is inverted and probes the
*other* region, so a region that is down never drains the healthy one. Both request the stage of the API that is for
health checkers. A failover edits nothing here.

The custom domain exists only where the zone is delegated: without a delegation ACM never completes its validation, and
the deployment would not end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdktn import ITerraformDependable, Token
from cdktn_provider_aws.acm_certificate import AcmCertificate
from cdktn_provider_aws.acm_certificate_validation import AcmCertificateValidation
from cdktn_provider_aws.apigatewayv2_api_mapping import Apigatewayv2ApiMapping
from cdktn_provider_aws.apigatewayv2_domain_name import (
    Apigatewayv2DomainName,
    Apigatewayv2DomainNameDomainNameConfiguration,
)
from cdktn_provider_aws.route53_health_check import Route53HealthCheck
from cdktn_provider_aws.route53_record import Route53Record, Route53RecordWeightedRoutingPolicy
from cdktn_provider_aws.route53_zone import Route53Zone

from healthcare_dr.infra.region_context import RegionContext, Role, Sites
from patient_api.contract.routes import CLIENT_STAGE, PROBE_STAGE

VALIDATION_TTL = 60


def custom_domain(site: RegionContext, zone: Route53Zone, *, api_id: str) -> tuple[str, Apigatewayv2ApiMapping]:
    """Serve the shared name in this region. Return the host name for DNS, and the mapping on which DNS depends."""
    certificate = AcmCertificate(
        site.stack,
        f"certificate_{site.role}",
        domain_name=site.names.api_domain,
        validation_method="DNS",
        tags={"Name": site.names.of("certificate", site.region)},
        provider=site.provider,
    )
    options = f"tolist({certificate.fqn}.domain_validation_options)[0]"
    validation_record = Route53Record(
        site.stack,
        f"certificate_proof_{site.role}",
        zone_id=zone.zone_id,
        name=f"${{{options}.resource_record_name}}",
        type=f"${{{options}.resource_record_type}}",
        records=Token.as_list(f"${{[{options}.resource_record_value]}}"),
        ttl=VALIDATION_TTL,
        # The certificates of both regions are validated by the same record.
        allow_overwrite=True,
        provider=site.provider,
    )
    validation = AcmCertificateValidation(
        site.stack,
        f"certificate_validation_{site.role}",
        certificate_arn=certificate.arn,
        validation_record_fqdns=[validation_record.fqdn],
        provider=site.provider,
    )
    name = Apigatewayv2DomainName(
        site.stack,
        f"api_domain_{site.role}",
        domain_name=site.names.api_domain,
        domain_name_configuration=Apigatewayv2DomainNameDomainNameConfiguration(
            certificate_arn=validation.certificate_arn, endpoint_type="REGIONAL", security_policy="TLS_1_2"
        ),
        provider=site.provider,
    )
    mapping = Apigatewayv2ApiMapping(
        site.stack,
        f"api_mapping_{site.role}",
        api_id=api_id,
        domain_name=name.id,
        stage=CLIENT_STAGE,
        provider=site.provider,
    )
    return name.domain_name_configuration.target_domain_name, mapping


HTTPS = 443


@dataclass(frozen=True)
class Health:
    """The health checks by role: the probe of a region's endpoint, and the calculated check of its DNS record."""

    endpoints: dict[Role, Route53HealthCheck]
    calculated: dict[Role, Route53HealthCheck]


def hosted_zone(owner: RegionContext) -> Route53Zone:
    """Create the platform's own zone."""
    return Route53Zone(
        owner.stack,
        "zone",
        name=owner.names.domain,
        comment="healthcare-dr: weighted answers between two regions",
        force_destroy=True,
        provider=owner.provider,
    )


def region_health(sites: Sites, hosts: Mapping[Role, str]) -> Health:
    """Create the checks of both regions. `hosts` are the regions' own host names by role."""
    endpoints, calculated = {}, {}
    for site, other in (sites, sites[::-1]):
        endpoint = _probe(site, f"endpoint_{site.role}", hosts[site.role], "/health")
        drain_path = f"/drain/{site.region}"
        drain = _probe(site, f"drain_{site.role}", hosts[other.role], drain_path, inverted=True)
        endpoints[site.role] = endpoint
        children = [endpoint.id, drain.id]
        calculated[site.role] = Route53HealthCheck(
            site.stack,
            f"health_{site.role}",
            type="CALCULATED",
            child_healthchecks=children,
            child_health_threshold=len(children),
            tags={"Name": site.names.of("health", site.region)},
            provider=sites[0].provider,
        )
    return Health(endpoints=endpoints, calculated=calculated)


def weighted_records(
    sites: Sites,
    zone: Route53Zone,
    targets: Mapping[Role, str],
    health: Health,
    *,
    after: Sequence[ITerraformDependable],
) -> None:
    """Create a record for each region under the shared name, withdrawn while the region is unhealthy.

    `after` contains the resources that the records depend on.
    """
    for site in sites:
        Route53Record(
            site.stack,
            f"api_{site.role}",
            zone_id=zone.zone_id,
            name=site.names.api_domain,
            type="CNAME",
            ttl=site.settings.dns_ttl,
            records=[targets[site.role]],
            set_identifier=site.region,
            weighted_routing_policy=Route53RecordWeightedRoutingPolicy(weight=site.weight),
            health_check_id=health.calculated[site.role].id,
            depends_on=list(after) or None,
            provider=sites[0].provider,
        )


def _probe(site: RegionContext, name: str, host: str, path: str, *, inverted: bool = False) -> Route53HealthCheck:
    return Route53HealthCheck(
        site.stack,
        name,
        type="HTTPS",
        fqdn=host,
        port=HTTPS,
        resource_path=f"/{PROBE_STAGE}{path}",
        enable_sni=True,
        invert_healthcheck=inverted,
        request_interval=site.settings.health_check_interval,
        failure_threshold=site.settings.failure_threshold,
        measure_latency=True,
        tags={"Name": site.names.of(name.replace("_", "-"))},
        provider=site.provider,
    )

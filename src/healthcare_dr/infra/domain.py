"""The shared name as a custom domain, with a certificate in each region. Only where the zone is delegated to us:
without a delegation ACM never finishes its validation, and the deployment would hang."""

from dataclasses import dataclass

from cdktn import TerraformStack, Token
from cdktn_provider_aws.acm_certificate import AcmCertificate
from cdktn_provider_aws.acm_certificate_validation import AcmCertificateValidation
from cdktn_provider_aws.apigatewayv2_api_mapping import Apigatewayv2ApiMapping
from cdktn_provider_aws.apigatewayv2_domain_name import (
    Apigatewayv2DomainName,
    Apigatewayv2DomainNameDomainNameConfiguration,
)
from cdktn_provider_aws.route53_record import Route53Record
from cdktn_provider_aws.route53_zone import Route53Zone

from healthcare_dr.infra.site import Site

VALIDATION_TTL = 60


@dataclass(frozen=True)
class Served:
    """The host name that DNS has to point to, once the mapping exists."""

    target: str
    mapping: Apigatewayv2ApiMapping


def custom_domain(stack: TerraformStack, site: Site, zone: Route53Zone, *, api_id: str) -> Served:
    """Serve the shared name in this region."""
    certificate = AcmCertificate(
        stack,
        f"certificate_{site.role}",
        domain_name=site.names.api_domain,
        validation_method="DNS",
        tags={"Name": site.names.of("certificate", site.region)},
        provider=site.provider,
    )
    options = f"tolist({certificate.fqn}.domain_validation_options)[0]"
    proof = Route53Record(
        stack,
        f"certificate_proof_{site.role}",
        zone_id=zone.zone_id,
        name=f"${{{options}.resource_record_name}}",
        type=f"${{{options}.resource_record_type}}",
        records=Token.as_list(f"${{[{options}.resource_record_value]}}"),
        ttl=VALIDATION_TTL,
        # Both regions' certificates for one name are proven by the same record.
        allow_overwrite=True,
        provider=site.provider,
    )
    validation = AcmCertificateValidation(
        stack,
        f"certificate_validation_{site.role}",
        certificate_arn=certificate.arn,
        validation_record_fqdns=[proof.fqdn],
        provider=site.provider,
    )
    name = Apigatewayv2DomainName(
        stack,
        f"api_domain_{site.role}",
        domain_name=site.names.api_domain,
        domain_name_configuration=Apigatewayv2DomainNameDomainNameConfiguration(
            certificate_arn=validation.certificate_arn, endpoint_type="REGIONAL", security_policy="TLS_1_2"
        ),
        provider=site.provider,
    )
    mapping = Apigatewayv2ApiMapping(
        stack,
        f"api_mapping_{site.role}",
        api_id=api_id,
        domain_name=name.id,
        stage="$default",
        provider=site.provider,
    )
    return Served(target=name.domain_name_configuration.target_domain_name, mapping=mapping)

"""Replace every expression of the synthesized JSON by a well-formed literal.

Terraform's provider checks the number and the form of values before it sends anything, but not of values that it does
not know yet. A reference is such a value, and so is a list that contains one. With literals in their place,
`terraform validate` applies every check of the provider.
"""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from healthcare_dr.infra.lint.model import Platform, Resource
from healthcare_dr.infra.lint.service_models import resolved
from healthcare_dr.settings import Settings
from infra.damage import Documents

Resources = dict[str, dict[str, dict[str, Any]]]
"""The arguments of resources by type and name."""

ACCOUNT = "123456789012"
ABSENT = object()
"""The value of an argument that Terraform omits, such as `null`."""

EXPRESSION = re.compile(r"\$\{[^}]*\}")
CONDITION = re.compile(r'\$\{var\.oidc_issuer != "" \? (?P<then>[^:]+) : (?P<otherwise>[^}]+)\}')
SECRET = re.compile(r"\bvar\.operations_(?:endpoints\[(?P<number>\d)\]|webhooks)")
REFERENCE = re.compile(r"(?P<address>(?P<kind>(?:data\.)?aws_[a-z0-9_]+)\.[A-Za-z0-9_-]+)(?P<rest>[^}]*)")

KEY = "kms:{region}:{account}:key/{uuid}"
ARNS = {
    "aws_acm_certificate": "acm:{region}:{account}:certificate/{uuid}",
    "aws_cloudwatch_event_rule": "events:{region}:{account}:rule/{name}",
    "aws_cloudwatch_log_group": "logs:{region}:{account}:log-group:/healthcare-dr/{name}",
    "aws_cloudwatch_metric_alarm": "cloudwatch:{region}:{account}:alarm:{name}",
    "aws_iam_openid_connect_provider": "iam::{account}:oidc-provider/token.actions.githubusercontent.com",
    "aws_iam_policy": "iam::{account}:policy/{name}",
    "aws_iam_role": "iam::{account}:role/{name}",
    "aws_kms_key": KEY,
    "aws_lambda_function": "lambda:{region}:{account}:function:{name}",
    "aws_route_table": "ec2:{region}:{account}:route-table/rtb-{hex}",
    "aws_s3_bucket": "s3:::{name}",
    "aws_sns_topic": "sns:{region}:{account}:{name}",
    "aws_sqs_queue": "sqs:{region}:{account}:{name}",
    "aws_subnet": "ec2:{region}:{account}:subnet/subnet-{hex}",
    "aws_vpc": "ec2:{region}:{account}:vpc/vpc-{hex}",
    "aws_vpc_endpoint": "ec2:{region}:{account}:vpc-endpoint/vpce-{hex}",
}
LITERALS = {
    **{(kind, "arn"): f"arn:aws:{arn}" for kind, arn in ARNS.items()},
    ("aws_acm_certificate", "resource_record_name"): "_{digest}.api.clinic-one.org.",
    ("aws_acm_certificate", "resource_record_type"): "CNAME",
    ("aws_acm_certificate", "resource_record_value"): "_{digest}.acm-validations.aws.",
    ("aws_acm_certificate_validation", "certificate_arn"): "arn:aws:acm:{region}:{account}:certificate/{uuid}",
    ("aws_apigatewayv2_api", "execution_arn"): "arn:aws:execute-api:{region}:{account}:{api}",
    ("aws_apigatewayv2_api", "id"): "{api}",
    ("aws_apigatewayv2_authorizer", "id"): "{api}",
    ("aws_apigatewayv2_domain_name", "id"): "api.clinic-one.org",
    ("aws_apigatewayv2_domain_name", "target_domain_name"): "d-{api}.execute-api.{region}.amazonaws.com",
    ("aws_apigatewayv2_integration", "id"): "{api}",
    ("aws_dynamodb_table", "stream_arn"):
        "arn:aws:dynamodb:{region}:{account}:table/{name}/stream/2026-01-01T00:00:00.000",
    ("aws_internet_gateway", "id"): "igw-{hex}",
    ("aws_kms_key", "key_id"): "{uuid}",
    ("aws_kms_replica_key", "key_id"): "mrk-{digest}",
    ("aws_lambda_alias", "invoke_arn"):
        "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/"
        "arn:aws:lambda:{region}:{account}:function:{name}:live/invocations",
    ("aws_lambda_function", "version"): "7",
    ("aws_route53_health_check", "id"): "{uuid}",
    ("aws_route53_record", "fqdn"): "_{digest}.api.clinic-one.org",
    ("aws_route53_zone", "zone_id"): "Z0123456789ABCDEFGHIJ",
    ("aws_route_table", "id"): "rtb-{hex}",
    ("aws_s3_bucket", "id"): "{name}",
    ("aws_s3_bucket_versioning", "bucket"): "{name}",
    ("aws_security_group", "id"): "sg-{hex}",
    ("aws_sqs_queue", "url"): "https://sqs.{region}.amazonaws.com/{account}/{name}",
    ("aws_subnet", "id"): "subnet-{hex}",
    ("aws_vpc", "id"): "vpc-{hex}",
    ("aws_vpc_peering_connection", "id"): "pcx-{hex}",
    ("aws_vpc_peering_connection_accepter", "id"): "pcx-{hex}",
    ("data.aws_apigatewayv2_apis", "ids"): "{api}",
    ("data.aws_availability_zones", "names"): "{region}{zone}",
    ("data.aws_caller_identity", "account_id"): ACCOUNT,
    ("data.aws_kms_alias", "target_key_arn"): f"arn:aws:{KEY}",
    ("data.aws_route_table", "id"): "rtb-{hex}",
    ("data.aws_vpc", "id"): "vpc-{hex}",
}  # fmt: skip
"""The form of each attribute to which the stacks refer, by resource type and last name of the expression."""


def literal(documents: Documents, settings: Settings, *, issuer: str) -> Resources:
    """Return all resources of all stacks by type and name, without expressions, for one provider and one region.

    A name begins with its stack's. The meta-arguments that refer to other resources are left out.
    """
    platform = Platform(documents, settings)
    found: Resources = {}
    for resource in platform.resources():
        values = _Values(platform, resource, issuer)
        body = {
            name: values.of(value) for name, value in resource.body.items() if name not in ("provider", "depends_on")
        }
        if body.pop("count", 1):
            name = f"{resource.stack}_{resource.name}"
            found.setdefault(resource.kind, {})[name] = {k: v for k, v in body.items() if v is not ABSENT}
    left = EXPRESSION.findall(json.dumps(found))
    assert not left, left
    return found


class _Values:
    """The literals for the expressions of one resource."""

    def __init__(self, platform: Platform, resource: Resource, issuer: str) -> None:
        self._platform, self._resource = platform, resource
        self._variables = {"oidc_issuer": issuer, "oidc_audience": platform.settings.oidc_audience}

    def of(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: inner for name, item in value.items() if (inner := self.of(item)) is not ABSENT}
        if isinstance(value, list):
            return [self.of(item) for item in value]
        if not isinstance(value, str):
            return value
        if EXPRESSION.fullmatch(value):
            return self._evaluated(value)
        return EXPRESSION.sub(lambda found: str(self._evaluated(found[0])), value)

    def _evaluated(self, expression: str) -> Any:
        if condition := CONDITION.fullmatch(expression):
            return json.loads(condition["then" if self._variables["oidc_issuer"] else "otherwise"])
        if secret := SECRET.search(expression):
            return f"https://hooks.clinic-one.org/{secret['number'] or ''}"
        if expression.startswith("${var."):
            return self._variables[expression.removeprefix("${var.").removesuffix("}")]
        reference = REFERENCE.search(expression)
        assert reference is not None, expression
        if reference["kind"] == "aws_apigatewayv2_authorizer" and not self._variables["oidc_issuer"]:
            return ABSENT
        text = self._attribute(reference, expression)
        return [text] if expression.startswith("${[") else text

    def _attribute(self, reference: re.Match[str], expression: str) -> str:
        known = resolved(self._platform, self._resource, expression)
        if known is not None:
            return str(known)
        attribute = re.findall(r"\.([a-z0-9_]+)", reference["rest"])[-1]
        target = self._platform.referred(self._resource.stack, f"${{{reference['address']}}}")
        assert target is not None, expression
        digest = sha256(target.address.encode()).hexdigest()
        return LITERALS[reference["kind"], attribute].format(
            account=ACCOUNT,
            region=target.region,
            name=target.name.replace("_", "-"),
            digest=digest[:32],
            hex=digest[:17],
            api=digest[:10],
            uuid="-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32])),
            zone="abc"[int(next(iter(re.findall(r", (\d)\)", expression)), "0"))],
        )


def merged(*variants: Resources) -> Resources:
    """Return the resources of several variants. Equal resources stand once."""
    found: Resources = {}
    for number, kinds in enumerate(variants):
        for kind, named in kinds.items():
            bodies = found.setdefault(kind, {})
            for name, body in named.items():
                if body not in bodies.values():
                    bodies[f"{name}_{number}"] = body
    return found

"""Check the arguments of each resource against AWS's own service models, which botocore contains.

Terraform's provider checks few limits before it calls AWS, and none while a value refers to another resource. The
service models state the lengths, patterns, ranges, counts and enumerations of every API call. `CALLS` maps a resource
type to the calls that create it. An argument is checked by the member of a call's input that has the same name, or that
`Call.members` names. An argument without a member is a finding, unless `EXCEPTIONS` states why it has none.

A reference to a literal attribute is replaced by that attribute, and one inside a longer text by a well-formed value. A
value that is nothing but a reference to something known after the apply is counted in its list, and not
checked further.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, Resource, rule
from healthcare_dr.settings import Settings


@dataclass(frozen=True)
class Call:
    """An API call that creates a resource type, or a part of it.

    `root` is the member of the input that holds most arguments. `members` maps the path of an argument, such as
    `replica.kms_key_arn`, to the path of a member within the shape of the enclosing block, where their names differ; a
    path that begins with `/` is one from the input itself.
    """

    operation: str
    root: str = ""
    members: Mapping[str, str] = field(default_factory=dict)


_NAMED_ROLE = {"role": "RoleName"}
_EC2_TAGS = {"tags": "TagSpecifications.Tags"}
_KEYS = {"hash_key": "KeySchema.AttributeName", "range_key": "KeySchema.AttributeName"}
_GROUP_RULE = {
    "security_group_id": "GroupId",
    "cidr_ipv4": "IpPermissions.IpRanges.CidrIp",
    "description": "IpPermissions.IpRanges.Description",
    "referenced_security_group_id": "IpPermissions.UserIdGroupPairs.GroupId",
    "from_port": "IpPermissions.FromPort",
    "to_port": "IpPermissions.ToPort",
    "ip_protocol": "IpPermissions.IpProtocol",
}

CALLS: dict[str, tuple[Call, ...]] = {
    "aws_acm_certificate": (Call("acm.RequestCertificate"),),
    "aws_acm_certificate_validation": (Call("acm.DescribeCertificate"),),
    "aws_apigatewayv2_api": (Call("apigatewayv2.CreateApi"),),
    "aws_apigatewayv2_api_mapping": (Call("apigatewayv2.CreateApiMapping", members={"domain_name": "DomainName"}),),
    "aws_apigatewayv2_domain_name": (
        Call("apigatewayv2.CreateDomainName", members={"domain_name_configuration": "DomainNameConfigurations"}),
    ),
    "aws_apigatewayv2_authorizer": (
        Call("apigatewayv2.CreateAuthorizer", members={"identity_sources": "IdentitySource"}),
    ),
    "aws_apigatewayv2_integration": (
        Call("apigatewayv2.CreateIntegration", members={"timeout_milliseconds": "TimeoutInMillis"}),
    ),
    "aws_apigatewayv2_route": (Call("apigatewayv2.CreateRoute"),),
    "aws_apigatewayv2_stage": (Call("apigatewayv2.CreateStage", members={"name": "StageName"}),),
    "aws_cloudtrail": (
        Call("cloudtrail.CreateTrail", members={"tags": "TagsList"}),
        Call("cloudtrail.PutEventSelectors"),
    ),
    "aws_cloudwatch_composite_alarm": (Call("cloudwatch.PutCompositeAlarm"),),
    "aws_cloudwatch_dashboard": (Call("cloudwatch.PutDashboard"),),
    "aws_cloudwatch_event_rule": (Call("events.PutRule"),),
    "aws_cloudwatch_event_target": (Call("events.PutTargets", root="Targets", members={"target_id": "Id"}),),
    "aws_cloudwatch_log_group": (
        Call("logs.CreateLogGroup", members={"name": "logGroupName"}),
        Call("logs.PutRetentionPolicy"),
    ),
    "aws_cloudwatch_metric_alarm": (Call("cloudwatch.PutMetricAlarm"),),
    "aws_default_security_group": (Call("ec2.CreateSecurityGroup", members=_EC2_TAGS),),
    "aws_dynamodb_table": (
        Call(
            "dynamodb.CreateTable",
            members={
                "name": "TableName",
                **_KEYS,
                **{f"global_secondary_index.{key}": to for key, to in _KEYS.items()},
                "attribute": "AttributeDefinitions",
                "attribute.name": "AttributeName",
                "attribute.type": "AttributeType",
                "global_secondary_index.name": "IndexName",
                "global_secondary_index.projection_type": "Projection.ProjectionType",
                "server_side_encryption": "SSESpecification",
                "server_side_encryption.kms_key_arn": "KMSMasterKeyId",
                "stream_enabled": "StreamSpecification.StreamEnabled",
                "stream_view_type": "StreamSpecification.StreamViewType",
            },
        ),
        Call(
            "dynamodb.UpdateContinuousBackups",
            members={
                "point_in_time_recovery": "PointInTimeRecoverySpecification",
                "point_in_time_recovery.enabled": "PointInTimeRecoveryEnabled",
                "replica.point_in_time_recovery": "/PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled",
            },
        ),
        Call(
            "dynamodb.UpdateTable",
            members={"replica": "ReplicaUpdates.Create", "replica.kms_key_arn": "KMSMasterKeyId"},
        ),
    ),
    "aws_fis_experiment_template": (
        Call(
            "fis.CreateExperimentTemplate",
            members={
                "action": "actions",
                "action.parameter": "parameters",
                "target": "targets",
                "stop_condition": "stopConditions",
            },
        ),
    ),
    "aws_flow_log": (
        Call(
            "ec2.CreateFlowLogs",
            members={"iam_role_arn": "DeliverLogsPermissionArn", "vpc_id": "ResourceIds", **_EC2_TAGS},
        ),
    ),
    "aws_iam_policy": (Call("iam.CreatePolicy", members={"name": "PolicyName", "policy": "PolicyDocument"}),),
    "aws_iam_openid_connect_provider": (
        Call("iam.CreateOpenIDConnectProvider", members={"client_id_list": "ClientIDList"}),
    ),
    "aws_iam_role": (
        Call("iam.CreateRole", members={"name": "RoleName", "assume_role_policy": "AssumeRolePolicyDocument"}),
    ),
    "aws_iam_role_policy": (
        Call("iam.PutRolePolicy", members={"name": "PolicyName", "policy": "PolicyDocument", **_NAMED_ROLE}),
    ),
    "aws_iam_role_policy_attachment": (Call("iam.AttachRolePolicy", members=_NAMED_ROLE),),
    "aws_internet_gateway": (Call("ec2.AttachInternetGateway"), Call("ec2.CreateInternetGateway", members=_EC2_TAGS)),
    "aws_kms_alias": (Call("kms.CreateAlias", members={"name": "AliasName"}),),
    "aws_kms_key": (
        Call("kms.CreateKey"),
        Call("kms.ScheduleKeyDeletion", members={"deletion_window_in_days": "PendingWindowInDays"}),
    ),
    "aws_kms_replica_key": (
        Call("kms.ReplicateKey", members={"primary_key_arn": "KeyId"}),
        Call("kms.ScheduleKeyDeletion", members={"deletion_window_in_days": "PendingWindowInDays"}),
    ),
    "aws_lambda_alias": (Call("lambda.CreateAlias"),),
    "aws_lambda_event_source_mapping": (
        Call(
            "lambda.CreateEventSourceMapping",
            members={"destination_config.on_failure.destination_arn": "Destination"},
        ),
    ),
    "aws_lambda_function": (Call("lambda.CreateFunction"),),
    "aws_lambda_function_event_invoke_config": (Call("lambda.PutFunctionEventInvokeConfig"),),
    "aws_lambda_permission": (Call("lambda.AddPermission"),),
    "aws_route": (Call("ec2.CreateRoute"),),
    "aws_route53_health_check": (
        Call(
            "route53.CreateHealthCheck",
            root="HealthCheckConfig",
            members={
                "fqdn": "FullyQualifiedDomainName",
                "invert_healthcheck": "Inverted",
                "child_health_threshold": "HealthThreshold",
            },
        ),
        Call("route53.ChangeTagsForResource", members={"tags": "AddTags"}),
    ),
    "aws_route53_record": (
        Call(
            "route53.ChangeResourceRecordSets",
            root="ChangeBatch.Changes.ResourceRecordSet",
            members={
                "zone_id": "HostedZoneId",
                "records": "ResourceRecords.Value",
                "weighted_routing_policy.weight": "/ChangeBatch.Changes.ResourceRecordSet.Weight",
            },
        ),
    ),
    "aws_route53_zone": (Call("route53.CreateHostedZone", members={"comment": "HostedZoneConfig.Comment"}),),
    "aws_route_table": (Call("ec2.CreateRouteTable", members=_EC2_TAGS),),
    "aws_route_table_association": (Call("ec2.AssociateRouteTable"),),
    "aws_s3_bucket": (
        Call("s3.CreateBucket"),
        Call("s3.PutBucketTagging", root="Tagging", members={"tags": "TagSet"}),
    ),
    "aws_s3_bucket_cors_configuration": (
        Call("s3.PutBucketCors", root="CORSConfiguration", members={"cors_rule": "CORSRules"}),
    ),
    "aws_s3_bucket_lifecycle_configuration": (
        Call("s3.PutBucketLifecycleConfiguration", root="LifecycleConfiguration"),
    ),
    "aws_s3_bucket_notification": (
        Call(
            "s3.PutBucketNotificationConfiguration",
            root="NotificationConfiguration",
            members={
                "lambda_function": "LambdaFunctionConfigurations",
                "topic": "TopicConfigurations",
                "lambda_function.filter_prefix": "Filter.Key.FilterRules.Value",
            },
        ),
    ),
    "aws_s3_bucket_ownership_controls": (Call("s3.PutBucketOwnershipControls", root="OwnershipControls"),),
    "aws_s3_bucket_policy": (Call("s3.PutBucketPolicy"),),
    "aws_s3_bucket_public_access_block": (Call("s3.PutPublicAccessBlock", root="PublicAccessBlockConfiguration"),),
    "aws_s3_bucket_replication_configuration": (Call("s3.PutBucketReplication", root="ReplicationConfiguration"),),
    "aws_s3_bucket_server_side_encryption_configuration": (
        Call(
            "s3.PutBucketEncryption",
            root="ServerSideEncryptionConfiguration",
            members={"rule.apply_server_side_encryption_by_default.kms_master_key_id": "KMSMasterKeyID"},
        ),
    ),
    "aws_s3_bucket_versioning": (Call("s3.PutBucketVersioning"),),
    "aws_security_group": (Call("ec2.CreateSecurityGroup", members={"name": "GroupName", **_EC2_TAGS}),),
    "aws_sns_topic": (Call("sns.CreateTopic", members={"kms_master_key_id": "Attributes.KmsMasterKeyId"}),),
    "aws_sns_topic_policy": (Call("sns.SetTopicAttributes", members={"arn": "TopicArn", "policy": "AttributeValue"}),),
    "aws_sns_topic_subscription": (
        Call(
            "sns.Subscribe",
            members={
                "delivery_policy": "Attributes.DeliveryPolicy",
                "redrive_policy": "Attributes.RedrivePolicy",
            },
        ),
    ),
    "aws_sqs_queue": (
        Call(
            "sqs.CreateQueue",
            members={"name": "QueueName", "kms_master_key_id": "Attributes.KmsMasterKeyId"},
        ),
    ),
    "aws_sqs_queue_policy": (Call("sqs.SetQueueAttributes", members={"policy": "Attributes.Policy"}),),
    "aws_ssm_parameter": (Call("ssm.PutParameter"),),
    "aws_subnet": (Call("ec2.CreateSubnet", members=_EC2_TAGS), Call("ec2.ModifySubnetAttribute")),
    "aws_vpc": (
        Call("ec2.CreateVpc", members=_EC2_TAGS),
        Call(
            "ec2.ModifyVpcAttribute",
            members={
                "enable_dns_hostnames": "EnableDnsHostnames.Value",
                "enable_dns_support": "EnableDnsSupport.Value",
            },
        ),
    ),
    "aws_vpc_endpoint": (Call("ec2.CreateVpcEndpoint", members=_EC2_TAGS),),
    "aws_vpc_peering_connection": (Call("ec2.CreateVpcPeeringConnection", members=_EC2_TAGS),),
    "aws_vpc_peering_connection_accepter": (Call("ec2.AcceptVpcPeeringConnection"), Call("ec2.CreateTags")),
    "aws_vpc_peering_connection_options": (
        Call(
            "ec2.ModifyVpcPeeringConnectionOptions",
            members={
                "accepter": "AccepterPeeringConnectionOptions",
                "requester": "RequesterPeeringConnectionOptions",
                "accepter.allow_remote_vpc_dns_resolution": "AllowDnsResolutionFromRemoteVpc",
                "requester.allow_remote_vpc_dns_resolution": "AllowDnsResolutionFromRemoteVpc",
            },
        ),
    ),
    "aws_vpc_security_group_egress_rule": (Call("ec2.AuthorizeSecurityGroupEgress", members=_GROUP_RULE),),
    "aws_vpc_security_group_ingress_rule": (Call("ec2.AuthorizeSecurityGroupIngress", members=_GROUP_RULE),),
}

_PROVIDER = "an instruction to the provider, which sends nothing"
EXCEPTIONS: Mapping[str, str] = {
    "aws_acm_certificate_validation.validation_record_fqdns": _PROVIDER,
    "aws_dynamodb_table.replica.propagate_tags": _PROVIDER,
    "aws_kms_key.enable_key_rotation": "whether `kms:EnableKeyRotation` is called, which takes the key alone",
    "aws_lambda_function.filename": "the package itself; its size is checked when it is built",
    "aws_lambda_function.source_code_hash": _PROVIDER,
    "aws_route53_record.allow_overwrite": _PROVIDER,
    "aws_route53_zone.force_destroy": _PROVIDER,
    "aws_s3_bucket.force_destroy": _PROVIDER,
    "aws_sns_topic_subscription.confirmation_timeout_in_minutes": _PROVIDER,
    "aws_sns_topic_subscription.endpoint_auto_confirms": _PROVIDER,
    "aws_sqs_queue.message_retention_seconds": "an attribute that SQS receives as text",
    "aws_vpc_peering_connection.auto_accept": "whether `ec2:AcceptVpcPeeringConnection` is called",
    "aws_vpc_peering_connection_accepter.auto_accept": "whether `ec2:AcceptVpcPeeringConnection` is called",
}
"""Arguments that no member of an API call receives, with the reason."""

# What Terraform itself reads.
_META_ARGUMENTS = {"//", "provider", "depends_on", "count", "lifecycle"}


_ACCOUNT_ID = "123456789012"
# Stands for a reference inside a longer text, such as the identifier of an HTTP API in a domain name.
_IDENTIFIER = "a1b2c3d4e5"
_ARN = f"arn:aws:service:us-east-1:{_ACCOUNT_ID}:{_IDENTIFIER}"
_EXPRESSION = re.compile(r"\$\{[^}]*\}")
_ATTRIBUTE = re.compile(r"\$\{(?:data\.)?[a-z0-9_]+\.[A-Za-z0-9_]+\.([a-z0-9_]+)\}")


@dataclass(frozen=True)
class Argument:
    """One value of a resource: where it stands, and the shape of the member that receives it (None if none does)."""

    resource: Resource
    path: str
    value: Any
    shape: Any

    @property
    def name(self) -> str:
        """The resource type and the path, as `EXCEPTIONS` names it."""
        return f"{self.resource.kind}.{self.path}"


@dataclass(frozen=True)
class Coverage:
    """How many arguments of a platform the service models check.

    Attributes:
        checked: arguments that a member of an API call receives.
        references: those of them whose value is known only after the apply, so that only its presence is checked.
        exceptions: how many arguments fall under each exception.
    """

    total: int
    checked: int
    references: int
    exceptions: Mapping[str, int]

    def lines(self) -> Iterator[str]:
        """Yield the share of arguments that are checked, then each exception with its reason."""
        yield (
            f"{self.checked} of {self.total} arguments ({self.checked / self.total:.1%}) checked against AWS's service "
            f"models; {self.references} of them are known only after the apply. Not checked:"
        )
        for argument, count in sorted(self.exceptions.items()):
            yield f"  {count} {argument}: {EXCEPTIONS[argument]}"


@rule("D8")
def service_models(platform: Platform) -> Problems:
    """AWS refuses the call, in the middle of a deployment."""
    for resource in platform.resources():
        if resource.kind not in CALLS:
            yield resource.address, f"no API call is known for {resource.kind}; add it to CALLS in service_models.py"
            continue
        for argument in arguments_of(resource):
            if argument.shape is not None:
                for problem in problems(resolved(platform, resource, argument.value), argument.shape):
                    yield resource.address, f"{argument.path} {problem}"
            elif argument.name not in EXCEPTIONS:
                yield resource.address, f"{argument.path}: no API call takes it; add it to CALLS or EXCEPTIONS"


def coverage_of(documents: Mapping[str, Mapping[str, Any]], settings: Settings) -> Coverage:
    """Count the arguments in the Terraform JSON of all stacks, and those that a service model checks."""
    platform = Platform(documents, settings)
    found = [argument for resource in platform.resources() for argument in arguments_of(resource)]
    checked = [argument for argument in found if argument.shape is not None]
    excepted = [argument.name for argument in found if argument.shape is None and argument.name in EXCEPTIONS]
    unknown = [
        argument
        for argument in checked
        if isinstance(argument.value, str) and resolved(platform, argument.resource, argument.value) is None
    ]
    return Coverage(total=len(found), checked=len(checked), references=len(unknown), exceptions=Counter(excepted))


def arguments_of(resource: Resource) -> Iterator[Argument]:
    """Yield the arguments of a resource; of nested blocks, those within."""
    inputs = [(call, _input_of(call.operation)) for call in CALLS.get(resource.kind, ())]
    shapes = [(call, top, _member(top, call.root)) for call, top in inputs]
    body = {name: value for name, value in resource.body.items() if name not in _META_ARGUMENTS}
    yield from _arguments(resource, body, shapes, "")


def _arguments(
    resource: Resource, block: Mapping[str, Any], shapes: list[tuple[Call, Any, Any]], prefix: str
) -> Iterator[Argument]:
    for name, value in block.items():
        path = prefix + name
        found = [
            (call, top, _receiver(call, top, shape, path, name, outermost=not prefix)) for call, top, shape in shapes
        ]
        shape = next((shape for _, _, shape in found if shape is not None), None)
        pairs = _pairs(shape, value)
        blocks = [value] if isinstance(value, Mapping) else value
        if pairs is not None or not (isinstance(blocks, list) and blocks and isinstance(blocks[0], Mapping)):
            yield Argument(resource, path, value if pairs is None else pairs, shape)
            continue
        if isinstance(value, list) and shape is not None and shape.type_name == "list":
            # How many blocks there are; what each holds follows.
            yield Argument(resource, f"{path}[*]", [None] * len(value), shape)
        for inner in blocks:
            yield from _arguments(resource, inner, found, f"{path}.")


def _receiver(call: Call, top: Any, shape: Any, path: str, name: str, *, outermost: bool) -> Any:
    """Return the shape of the member that receives an argument, or None."""
    wanted = call.members.get(path, name)
    if wanted.startswith("/"):
        return _member(top, wanted[1:])
    return _member(shape, wanted) or (_member(top, wanted) if outermost else None)


def _member(shape: Any, path: str) -> Any:
    """Return the shape at a path of members, through lists and maps; None if there is none."""
    for step in path.split(".") if path else ():
        while shape is not None and shape.type_name == "list":
            shape = shape.member
        if shape is None:
            return None
        if shape.type_name == "map":
            # Terraform writes a map of structures as blocks with a name each, and an attribute of a map as an argument.
            if step == "name":
                return shape.key
            if shape.value.type_name != "structure":
                return shape.value
            shape = shape.value
        # Terraform names a repeated block in the singular, and a member's words with underscores.
        plain = step.replace("_", "").lower()
        members = {name.lower(): member for name, member in getattr(shape, "members", {}).items()}
        names = (plain, f"{plain}s", f"{plain}es", f"{plain[:-1]}ies", plain.removesuffix("s"))
        shape = next((members[name] for name in names if name in members), None)
    return shape


def _pairs(shape: Any, value: Any) -> Mapping[str, Any] | None:
    """Return free names and their values, such as tags or dimensions, which are one argument; None for other values."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(item, Mapping) and item.keys() == {"key", "value"} for item in value)
    ):
        return {item["key"]: item["value"] for item in value}
    if isinstance(value, Mapping) and value.keys() == {"key", "value"}:
        return {value["key"]: value["value"]}
    if not isinstance(value, Mapping) or shape is None:
        return None
    if shape.type_name == "map" or (shape.type_name == "list" and len(getattr(shape.member, "members", {})) == 2):
        return value
    return None


@cache
def _input_of(operation: str) -> Any:
    service, _, name = operation.partition(".")
    return _service(service).operation_model(name).input_shape


@cache
def _service(name: str) -> Any:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    # Not a session, which reads the user's profiles.
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    return ServiceModel(loader.load_service_model(name, "service-2"), service_name=name)


def problems(value: Any, shape: Any) -> Iterator[str]:
    """Yield how a value breaks the limits of a shape; None stands for a value known after the apply."""
    limits, kind = shape.metadata, shape.type_name
    if value is None:
        return
    if kind in ("list", "map"):
        items = list(value.items()) if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
        yield from _outside(len(items), limits, "has {} entries")
        for item in items:
            if isinstance(item, tuple):
                for part, inner in zip(item, _pair(shape), strict=True):
                    yield from problems(part, inner)
            else:
                yield from problems(item, shape.member if kind == "list" else shape.value)
    elif kind in ("integer", "long", "float", "double"):
        yield from _outside(float(value), limits, "is {:g}")
    elif kind == "boolean" and not isinstance(value, bool):
        yield f"is {value!r}, not true or false"
    elif kind == "string":
        text = str(value)
        yield from _outside(len(text), limits, "has {} characters")
        if shape.enum and text not in shape.enum:
            yield f"is {text}, not one of {', '.join(shape.enum)}"
        if (pattern := limits.get("pattern")) and not _pattern(pattern).fullmatch(text):
            yield f"is {text}, which does not match {pattern}"


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern of a model, which is written for Java, with the nearest classes that Python has."""
    for java, python in (("\\p{L}", "\\w"), ("\\p{N}", "\\d"), ("\\p{Z}", "\\s")):
        text = text.replace(java, python)
    return re.compile(text)


def _outside(measure: float, limits: Mapping[str, Any], text: str) -> Iterator[str]:
    if measure < limits.get("min", measure):
        yield f"{text.format(measure)}, fewer than {limits['min']}"
    if measure > limits.get("max", measure):
        yield f"{text.format(measure)}, more than {limits['max']}"


def _pair(shape: Any) -> tuple[Any, Any]:
    """Return the shapes of key and value, of a map or of a list of pairs."""
    if shape.type_name == "map":
        return shape.key, shape.value
    key, value = shape.member.members.values()
    return key, value


def resolved(platform: Platform, resource: Resource, value: Any) -> Any:
    """Replace references in a value by what they refer to; None stands for what is known after the apply."""
    if isinstance(value, list):
        return [resolved(platform, resource, item) for item in value]
    if isinstance(value, Mapping):
        return {name: resolved(platform, resource, item) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    if _EXPRESSION.fullmatch(value):
        return _literal(platform, resource, value)
    return _EXPRESSION.sub(
        lambda found: _literal(platform, resource, found[0]) or (_ARN if found[0].endswith("arn}") else _IDENTIFIER),
        value,
    )


def _literal(platform: Platform, resource: Resource, expression: str) -> str | None:
    """Return the literal attribute that an expression refers to; None if it is known after the apply."""
    if expression == ACCOUNT:
        return _ACCOUNT_ID
    attribute = _ATTRIBUTE.fullmatch(expression)
    referred = platform.referred(resource.stack, expression)
    if attribute is None or referred is None or not isinstance(literal := referred.get(attribute[1]), str):
        return None
    found = resolved(platform, referred, literal)
    return found if isinstance(found, str) else None

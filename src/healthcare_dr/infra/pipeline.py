"""The stack of the deployment pipeline: the roles of a GitHub repository's workflow, and the permissions boundary of
the roles that they create.

An administrator applies it once, with `hdr pipeline`. It has three roles. Each trusts the tokens of one repository for
one purpose: `plan` those of pull requests, `deploy` those of one protected environment, `verify` those of one branch.

The deploy role creates roles, so it could give itself any permission through one of them. It may therefore create and
change the permissions of only roles that have the boundary policy of this stack, which allows what the platform's own
roles need and nothing else. It may not assume roles, change their trust, or change what is named
`healthcare-dr-pipeline-…`.

An administrator makes the first deployment. The deploy role changes it afterwards. It may not create or delete tables,
buckets, keys, zones or the trail, and may not change what keeps data and evidence: backups, expiry, versions,
replication, and the retention of access and flow logs.

The permissions for recipients of notifications and for fault injection do not depend on the settings, so that a changed
setting needs no new permissions. The state bucket, regions, suffix and domain do.

IAM limits a managed policy to 6,144 characters and a role to ten of them, so permissions are grouped by subject.
Services without permissions for a single resource before it exists (EC2, KMS, API Gateway, health checks) are limited
to the account and both regions.
"""

import re
from collections.abc import Sequence
from typing import Final

from cdktn_provider_aws.data_aws_iam_openid_connect_provider import DataAwsIamOpenidConnectProvider
from cdktn_provider_aws.iam_openid_connect_provider import IamOpenidConnectProvider
from cdktn_provider_aws.iam_policy import IamPolicy
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy_attachment import IamRolePolicyAttachment
from constructs import Construct

from healthcare_dr.infra import policy
from healthcare_dr.infra.fault_injection import NETWORK_CHANGES, NETWORK_READS, pausing
from healthcare_dr.infra.policy import Condition, Statement
from healthcare_dr.infra.region_context import RegionContext, Sites
from healthcare_dr.infra.roles import ONLY_TO_QUARANTINE, PEER_ROLE, QUARANTINE
from healthcare_dr.infra.stacks import PlatformStack
from healthcare_dr.naming import PIPELINE
from healthcare_dr.settings import Settings
from patient_api.contract.keys import DRAIN_PARTITION, HEARTBEAT_PARTITION, OPEN_CONFLICTS, PENDING_PREFIX, UPDATE_INDEX

ISSUER: Final = "token.actions.githubusercontent.com"
AUDIENCE: Final = "sts.amazonaws.com"
SESSION_SECONDS: Final = 3600
PASSED_TO: Final = ("fis.amazonaws.com", "lambda.amazonaws.com", "vpc-flow-logs.amazonaws.com")
SERVICE_ROLES: Final = ("fis.amazonaws.com", "ops.apigateway.amazonaws.com")
ITEMS: Final = (
    "dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query",
    "dynamodb:Scan", "dynamodb:UpdateItem",
)  # fmt: skip


class PipelineStack(PlatformStack):
    """The identity provider, roles and policies of the pipeline. IAM is global; the requests go to the state's region.

    With `github_provider_exists`, the identity provider is looked up instead of created: an account can have one.
    """

    def __init__(self, scope: Construct, settings: Settings, *, repository: str) -> None:
        super().__init__(scope, PIPELINE, settings)
        provider = self._provider("aws", settings.state_region)
        account = self._account(provider)
        primary, secondary = (
            RegionContext(stack=self, settings=settings, role=role, account=account, provider=provider)
            for role in ("primary", "secondary")
        )
        reach = _Reach((primary, secondary))
        issuer = self._identity_provider(exists=settings.github_provider_exists)
        branch = f"repo:{repository}:ref:refs/heads/{settings.github_branch}"
        subjects = {
            "plan": f"repo:{repository}:pull_request",
            "deploy": f"repo:{repository}:environment:{settings.github_environment}",
            "verify": branch,
        }
        roles = {
            name: IamRole(
                self,
                f"{name}_role",
                name=reach.names.of_pipeline(name),
                assume_role_policy=_trust(issuer, subject),
                max_session_duration=SESSION_SECONDS,
            )
            for name, subject in subjects.items()
        }
        documents: dict[str, tuple[Sequence[Statement], Sequence[str]]] = {
            "read": (reach.read(), tuple(roles)),
            "read-functions": (reach.read_functions(), tuple(roles)),
            "read-operations": (reach.read_operations(), tuple(roles)),
            "checks": (reach.checks(), ["verify"]),
            "data": (reach.data(), ["deploy"]),
            "functions": (reach.functions(), ["deploy"]),
            "operations": (reach.operations(), ["deploy"]),
            "network": (reach.network(), ["deploy"]),
            "identity": (reach.identity(), ["deploy"]),
        }
        if settings.state_bucket is not None:
            documents["state"] = (reach.state(settings.state_bucket, write=False), ["plan", "verify"])
            documents["state-write"] = (reach.state(settings.state_bucket, write=True), ["deploy"])
        self._policy("boundary", reach.names.of_pipeline("boundary"), reach.boundary())
        for name, (statements, holders) in documents.items():
            managed = self._policy(name.replace("-", "_"), reach.names.of_pipeline(name), statements)
            for holder in holders:
                IamRolePolicyAttachment(
                    self, f"{holder}_{name.replace('-', '_')}", role=roles[holder].name, policy_arn=managed.arn
                )
        self._outputs({f"{name}_role_arn": role.arn for name, role in roles.items()})

    def _identity_provider(self, *, exists: bool) -> str:
        if exists:
            return DataAwsIamOpenidConnectProvider(self, "github", url=f"https://{ISSUER}").arn
        return IamOpenidConnectProvider(self, "github", url=f"https://{ISSUER}", client_id_list=[AUDIENCE]).arn

    def _policy(self, identifier: str, name: str, statements: Sequence[Statement]) -> IamPolicy:
        return IamPolicy(self, f"{identifier}_policy", name=name, policy=policy.document(*statements))


def _trust(issuer: str, subject: str) -> str:
    """Return a trust policy for the tokens of one subject. Both claims are compared exactly."""
    return policy.trust_token(issuer, {"StringEquals": {f"{ISSUER}:aud": AUDIENCE, f"{ISSUER}:sub": subject}})


class _Reach:
    """The platform's resources as the pipeline's policies name them."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._settings = sites[0].settings
        self.names = sites[0].names
        self._account = sites[0].account
        functions = self._named("lambda", "function:")
        self._functions = [*functions, *(f"{arn}:*" for arn in functions)]
        self._tables = [arn for site in sites for arn in site.table_arns]
        self._documents = [site.documents_arn for site in sites]
        self._trails = [f"arn:aws:s3:::{site.trail_bucket}" for site in sites]
        self._keys = self._both("kms", "key/*")
        self._roles = [site.role_arn("*", site.region) for site in sites]
        self._policies = [f"arn:aws:iam::{self._account}:policy/{self.names.of('*', site.region)}" for site in sites]
        self._own = [f"arn:aws:iam::{self._account}:{kind}/{PIPELINE}-*" for kind in ("policy", "role")] + [
            f"arn:aws:iam::{self._account}:oidc-provider/*"
        ]
        self._boundary = f"arn:aws:iam::{self._account}:policy/{self.names.of_pipeline('boundary')}"
        self._function_log_groups = self._groups(self.names.lambda_log_group(self.names.of("*")))
        self._log_groups = [*self._function_log_groups, *self._groups(self.names.log_group("*"))]

    def _both(self, service: str, resource: str) -> list[str]:
        """Return the ARNs of a resource in both regions."""
        return [site.regional_arn(service, resource) for site in self._sites]

    def _named(self, service: str, kind: str) -> list[str]:
        """Return the ARNs of every resource of a kind whose name ends in the suffix, in both regions."""
        return self._both(service, f"{kind}{self.names.of('*')}")

    def _groups(self, name: str) -> list[str]:
        """Return the ARNs of log groups in both regions, as requests on groups and on streams name them."""
        named = self._both("logs", f"log-group:{name}")
        return [*named, *(f"{arn}:*" for arn in named)]

    def _through(self, *services: str) -> Condition:
        hosts = [f"{service}.{site.region}.amazonaws.com" for service in services for site in self._sites]
        return {"StringEquals": {"kms:ViaService": hosts}}

    def _in_regions(self) -> Condition:
        return {"StringEquals": {"aws:RequestedRegion": list(self._settings.regions)}}

    def _apis(self) -> list[str]:
        return [
            f"arn:aws:apigateway:{site.region}::/{path}"
            for site in self._sites
            for path in ("apis", "apis/*", "domainnames", "domainnames/*", "tags/*")
        ]

    def read(self) -> list[Statement]:
        """Return what planning reads of data, keys, roles and networks: descriptions, and no content."""
        return [
            policy.allow(
                "Tables",
                (
                    "dynamodb:DescribeContinuousBackups",
                    "dynamodb:DescribeTable",
                    "dynamodb:DescribeTimeToLive",
                    "dynamodb:ListTagsOfResource",
                ),
                self._tables,
            ),
            policy.allow(
                "Buckets",
                (
                    "s3:GetAccelerateConfiguration",
                    "s3:GetBucketAcl",
                    "s3:GetBucketCORS",
                    "s3:GetBucketLocation",
                    "s3:GetBucketLogging",
                    "s3:GetBucketNotification",
                    "s3:GetBucketObjectLockConfiguration",
                    "s3:GetBucketOwnershipControls",
                    "s3:GetBucketPolicy",
                    "s3:GetBucketPublicAccessBlock",
                    "s3:GetBucketRequestPayment",
                    "s3:GetBucketTagging",
                    "s3:GetBucketVersioning",
                    "s3:GetBucketWebsite",
                    "s3:GetEncryptionConfiguration",
                    "s3:GetLifecycleConfiguration",
                    "s3:GetReplicationConfiguration",
                    "s3:ListBucket",
                ),
                [*self._documents, *self._trails],
            ),
            policy.allow(
                "Keys",
                ("kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags"),
                self._keys,
            ),
            # Lambda decrypts the variables of a function, which contain no secrets, in the caller's name.
            policy.allow("FunctionEnvironment", ["kms:Decrypt"], self._keys, condition=self._through("lambda")),
            policy.allow(
                "Roles",
                (
                    "iam:GetRole",
                    "iam:GetRolePolicy",
                    "iam:ListAttachedRolePolicies",
                    "iam:ListInstanceProfilesForRole",
                    "iam:ListRolePolicies",
                ),
                self._roles,
            ),
            policy.allow(
                "Policies",
                ("iam:GetPolicy", "iam:GetPolicyVersion", "iam:ListPolicyVersions"),
                self._policies,
            ),
            policy.allow(
                "Find",
                (
                    "cloudtrail:DescribeTrails",
                    "dynamodb:DescribeLimits",
                    "ec2:DescribeAvailabilityZones",
                    "ec2:DescribeFlowLogs",
                    "ec2:DescribeInternetGateways",
                    "ec2:DescribeNetworkAcls",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribePrefixLists",
                    "ec2:DescribeRouteTables",
                    "ec2:DescribeSecurityGroupRules",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeVpcEndpoints",
                    "ec2:DescribeVpcPeeringConnections",
                    "ec2:DescribeVpcs",
                    "kms:ListAliases",
                    "lambda:GetAccountSettings",
                    "lambda:GetEventSourceMapping",
                    "lambda:ListEventSourceMappings",
                    "logs:DescribeLogGroups",
                    "route53:ListHostedZonesByName",
                ),
                "*",
            ),
            policy.allow("ChangesOfZones", ["route53:GetChange"], "arn:aws:route53:::change/*"),
            policy.allow("VpcAttributes", ["ec2:DescribeVpcAttribute"], self._both("ec2", "vpc/*")),
        ]

    def read_functions(self) -> list[Statement]:
        """Return what planning reads of functions, APIs, zones and health checks."""
        return [
            policy.allow(
                "Functions",
                (
                    "lambda:GetAlias",
                    "lambda:GetFunction",
                    "lambda:GetFunctionCodeSigningConfig",
                    "lambda:GetFunctionConcurrency",
                    "lambda:GetFunctionConfiguration",
                    "lambda:GetFunctionEventInvokeConfig",
                    "lambda:GetPolicy",
                    "lambda:ListTags",
                    "lambda:ListVersionsByFunction",
                ),
                self._functions,
            ),
            policy.allow("EventSources", ["lambda:ListTags"], self._both("lambda", "event-source-mapping:*")),
            policy.allow("Apis", ["apigateway:GET"], self._apis()),
            policy.allow(
                "Zones",
                (
                    "route53:GetDNSSEC",
                    "route53:GetHostedZone",
                    "route53:ListResourceRecordSets",
                    "route53:ListTagsForResource",
                ),
                "arn:aws:route53:::hostedzone/*",
            ),
            policy.allow(
                "HealthChecks",
                ("route53:GetHealthCheck", "route53:ListTagsForResource"),
                "arn:aws:route53:::healthcheck/*",
            ),
            policy.allow(
                "Certificates",
                ("acm:DescribeCertificate", "acm:ListTagsForCertificate"),
                self._both("acm", "certificate/*"),
            ),
        ]

    def read_operations(self) -> list[Statement]:
        """Return what planning reads of logs, alarms, dashboards, schedules, topics and the trail."""
        return [
            policy.allow("LogGroups", ["logs:ListTagsForResource"], self._log_groups),
            policy.allow(
                "Alarms",
                ["cloudwatch:ListTagsForResource"],
                self._named("cloudwatch", "alarm:"),
            ),
            # With a narrower resource, CloudWatch returns no composite alarms (API reference, DescribeAlarms).
            policy.allow("AllAlarms", ["cloudwatch:DescribeAlarms"], "*", condition=self._in_regions()),
            policy.allow(
                "Dashboards",
                ["cloudwatch:GetDashboard"],
                f"arn:aws:cloudwatch::{self._account}:dashboard/{self.names.of('*')}",
            ),
            policy.allow(
                "Rules",
                ("events:DescribeRule", "events:ListTagsForResource", "events:ListTargetsByRule"),
                self._named("events", "rule/"),
            ),
            policy.allow(
                "Topics",
                ("sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:ListTagsForResource"),
                self._both("sns", self.names.of("operations")),
            ),
            policy.allow("Subscriptions", ["sns:GetSubscriptionAttributes"], "*"),
            *self._read_recipients(),
            policy.allow(
                "Trails",
                (
                    "cloudtrail:GetEventSelectors",
                    "cloudtrail:GetInsightSelectors",
                    "cloudtrail:GetTrail",
                    "cloudtrail:GetTrailStatus",
                    "cloudtrail:ListTags",
                ),
                self._both("cloudtrail", f"trail/{self.names.of('data-events')}"),
            ),
            policy.allow(
                "Experiments",
                ("fis:GetExperimentTemplate", "fis:ListTagsForResource"),
                self._both("fis", "experiment-template/*"),
            ),
        ]

    def checks(self) -> list[Statement]:
        """Return what `hdr verify` reads in addition: measurements, heartbeats, drain flags and lists of open work."""
        records = [site.table_arns[0] for site in self._sites]
        return [
            policy.allow(
                "HeartbeatsAndDrainFlags",
                ["dynamodb:GetItem"],
                records,
                condition={
                    "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [DRAIN_PARTITION, HEARTBEAT_PARTITION]}
                },
            ),
            policy.allow(
                "OpenMarkers",
                ["dynamodb:Query"],
                [f"{arn}/index/{UPDATE_INDEX}" for arn in records],
                condition={
                    "ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"{OPEN_CONFLICTS}*", f"{PENDING_PREFIX}*"]}
                },
            ),
            # DynamoDB decrypts an item in the caller's name.
            policy.allow("Items", ["kms:Decrypt"], self._keys, condition=self._through("dynamodb")),
            policy.allow(
                "Measurements",
                (
                    "cloudwatch:GetMetricData",
                    "cloudwatch:GetMetricStatistics",
                    "route53:ListHealthChecks",
                    "tag:GetResources",
                ),
                "*",
            ),
            policy.allow("EffectivePermissions", ["iam:SimulatePrincipalPolicy"], self._roles),
            policy.allow("HealthCheckStatus", ["route53:GetHealthCheckStatus"], "arn:aws:route53:::healthcheck/*"),
        ]

    def state(self, bucket: str, *, write: bool) -> list[Statement]:
        """Return access to Terraform's state. Every plan locks it, so the lock files can be written in any case."""
        suffix = self._settings.environment_suffix
        files = f"arn:aws:s3:::{bucket}/{suffix}/*.tfstate"
        found = [
            policy.allow("StateBucket", ("s3:GetBucketVersioning", "s3:ListBucket"), f"arn:aws:s3:::{bucket}"),
            policy.allow("ReadState", ["s3:GetObject"], files),
            policy.allow("LockState", ("s3:DeleteObject", "s3:GetObject", "s3:PutObject"), f"{files}.tflock"),
        ]
        if write:
            found.append(policy.allow("WriteState", ["s3:PutObject"], files))
            found.append(
                policy.deny("NotItsOwnState", ["s3:PutObject"], f"arn:aws:s3:::{bucket}/{suffix}/{PIPELINE}.tfstate")
            )
        return found

    def data(self) -> list[Statement]:
        """Return what changes tables, buckets and keys without a loss of data, and reads none of their content."""
        buckets = [*self._documents, *self._trails]
        return [
            policy.allow(
                "Tables",
                ("dynamodb:TagResource", "dynamodb:UntagResource", "dynamodb:UpdateTable"),
                self._tables,
            ),
            policy.allow("Documents", ("s3:PutBucketCORS", "s3:PutBucketNotification"), self._documents),
            policy.allow("Buckets", ["s3:PutBucketTagging"], buckets),
            policy.allow(
                "Keys",
                ("kms:PutKeyPolicy", "kms:TagResource", "kms:UntagResource", "kms:UpdateKeyDescription"),
                self._keys,
            ),
            policy.allow("UseKeys", policy.KEY_USE, self._keys, condition=self._through("dynamodb", "lambda")),
            policy.allow(
                "GrantKeys",
                ["kms:CreateGrant"],
                self._keys,
                condition={"Bool": {"kms:GrantIsForAWSResource": "true"}, **self._through("dynamodb", "lambda")},
            ),
            policy.allow(
                "Trails",
                ("cloudtrail:AddTags", "cloudtrail:RemoveTags"),
                self._both("cloudtrail", f"trail/{self.names.of('data-events')}"),
            ),
            # The role changes the policies of keys and functions, which could otherwise grant it the content.
            policy.deny("NoItems", ITEMS, self._tables),
            policy.deny(
                "NoDocuments",
                ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"),
                [f"{arn}/*" for arn in buckets],
            ),
        ]

    def functions(self) -> list[Statement]:
        """Return what creates, changes and deletes functions, their event sources and their APIs."""
        return [
            policy.allow(
                "Functions",
                (
                    "lambda:AddPermission",
                    "lambda:CreateAlias",
                    "lambda:CreateFunction",
                    "lambda:DeleteAlias",
                    "lambda:DeleteFunction",
                    "lambda:DeleteFunctionEventInvokeConfig",
                    "lambda:PublishVersion",
                    "lambda:PutFunctionEventInvokeConfig",
                    "lambda:RemovePermission",
                    "lambda:TagResource",
                    "lambda:UntagResource",
                    "lambda:UpdateAlias",
                    "lambda:UpdateFunctionCode",
                    "lambda:UpdateFunctionConfiguration",
                    "lambda:UpdateFunctionEventInvokeConfig",
                ),
                self._functions,
            ),
            policy.allow(
                "CreateEventSources",
                ["lambda:CreateEventSourceMapping"],
                "*",
                condition={"ArnLike": {"lambda:FunctionArn": self._named("lambda", "function:")}},
            ),
            policy.allow(
                "EventSources",
                (
                    "lambda:DeleteEventSourceMapping",
                    "lambda:TagResource",
                    "lambda:UntagResource",
                    "lambda:UpdateEventSourceMapping",
                ),
                self._both("lambda", "event-source-mapping:*"),
            ),
            policy.allow(
                "Apis",
                ("apigateway:DELETE", "apigateway:PATCH", "apigateway:POST", "apigateway:PUT"),
                self._apis(),
            ),
        ]

    def operations(self) -> list[Statement]:
        """Return what creates, changes and deletes logs of functions, alarms, dashboards, schedules and recipients."""
        return [
            # Access and flow logs are evidence: only their tags change.
            policy.allow("LogGroups", ("logs:TagResource", "logs:UntagResource"), self._log_groups),
            policy.allow(
                "LogGroupsOfFunctions",
                ("logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy"),
                self._function_log_groups,
            ),
            # API Gateway and flow logs deliver in the name of the caller that configures them.
            policy.allow(
                "DeliverLogs",
                (
                    "logs:CreateLogDelivery",
                    "logs:DeleteLogDelivery",
                    "logs:DescribeResourcePolicies",
                    "logs:GetLogDelivery",
                    "logs:ListLogDeliveries",
                    "logs:PutResourcePolicy",
                    "logs:UpdateLogDelivery",
                ),
                "*",
                condition=self._in_regions(),
            ),
            policy.allow(
                "Alarms",
                (
                    "cloudwatch:DeleteAlarms",
                    "cloudwatch:PutMetricAlarm",
                    "cloudwatch:TagResource",
                    "cloudwatch:UntagResource",
                ),
                self._named("cloudwatch", "alarm:"),
            ),
            # CloudWatch accepts no narrower resource (API reference, PutCompositeAlarm).
            policy.allow("CompositeAlarms", ["cloudwatch:PutCompositeAlarm"], "*", condition=self._in_regions()),
            policy.allow(
                "Dashboards",
                ("cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard"),
                f"arn:aws:cloudwatch::{self._account}:dashboard/{self.names.of('*')}",
            ),
            policy.allow(
                "Rules",
                (
                    "events:DeleteRule",
                    "events:PutRule",
                    "events:PutTargets",
                    "events:RemoveTargets",
                    "events:TagResource",
                    "events:UntagResource",
                ),
                self._named("events", "rule/"),
            ),
            policy.allow(
                "Topics",
                (
                    "sns:CreateTopic",
                    "sns:SetTopicAttributes",
                    "sns:Subscribe",
                    "sns:TagResource",
                    "sns:UntagResource",
                ),
                self._both("sns", self.names.of("operations")),
            ),
            policy.allow("Subscriptions", ["sns:Unsubscribe"], "*", condition=self._in_regions()),
            *self._write_recipients(),
            policy.allow(
                "Experiments",
                (
                    "fis:CreateExperimentTemplate",
                    "fis:DeleteExperimentTemplate",
                    "fis:TagResource",
                    "fis:UntagResource",
                    "fis:UpdateExperimentTemplate",
                ),
                [*self._both("fis", "experiment-template/*"), "arn:aws:fis:*:*:action/*"],
            ),
        ]

    def network(self) -> list[Statement]:
        """Return what creates and changes networks, names, health checks and certificates."""
        domain = self.names.domain
        return [
            policy.allow(
                "Networks",
                (
                    "ec2:AcceptVpcPeeringConnection",
                    "ec2:AssociateRouteTable",
                    "ec2:AttachInternetGateway",
                    "ec2:AuthorizeSecurityGroupEgress",
                    "ec2:AuthorizeSecurityGroupIngress",
                    "ec2:CreateFlowLogs",
                    "ec2:CreateInternetGateway",
                    "ec2:CreateRoute",
                    "ec2:CreateRouteTable",
                    "ec2:CreateSecurityGroup",
                    "ec2:CreateSubnet",
                    "ec2:CreateTags",
                    "ec2:CreateVpc",
                    "ec2:CreateVpcEndpoint",
                    "ec2:CreateVpcPeeringConnection",
                    "ec2:DeleteRoute",
                    "ec2:DeleteSecurityGroup",
                    "ec2:DeleteTags",
                    "ec2:DeleteVpcEndpoints",
                    "ec2:DisassociateRouteTable",
                    "ec2:ModifySecurityGroupRules",
                    "ec2:ModifySubnetAttribute",
                    "ec2:ModifyVpcAttribute",
                    "ec2:ModifyVpcEndpoint",
                    "ec2:ModifyVpcPeeringConnectionOptions",
                    "ec2:ReplaceRoute",
                    "ec2:ReplaceRouteTableAssociation",
                    "ec2:RevokeSecurityGroupEgress",
                    "ec2:RevokeSecurityGroupIngress",
                ),
                self._both("ec2", "*/*"),
            ),
            policy.allow("CreateHealthChecks", ["route53:CreateHealthCheck"], "*"),
            policy.allow(
                "Records",
                ["route53:ChangeResourceRecordSets"],
                "arn:aws:route53:::hostedzone/*",
                condition={
                    "ForAllValues:StringLike": {
                        "route53:ChangeResourceRecordSetsNormalizedRecordNames": [domain, f"*.{domain}"]
                    }
                },
            ),
            policy.allow(
                "Zones",
                ("route53:ChangeTagsForResource", "route53:UpdateHostedZoneComment"),
                "arn:aws:route53:::hostedzone/*",
            ),
            policy.allow(
                "HealthChecks",
                ("route53:ChangeTagsForResource", "route53:DeleteHealthCheck", "route53:UpdateHealthCheck"),
                "arn:aws:route53:::healthcheck/*",
            ),
            policy.allow("RequestCertificates", ["acm:RequestCertificate"], "*", condition=self._in_regions()),
            policy.allow(
                "Certificates",
                ("acm:AddTagsToCertificate", "acm:DeleteCertificate", "acm:RemoveTagsFromCertificate"),
                self._both("acm", "certificate/*"),
            ),
        ]

    def identity(self) -> list[Statement]:
        """Return what creates roles and changes their permissions, all of them within the boundary."""
        bounded: Condition = {"StringEquals": {"iam:PermissionsBoundary": self._boundary}}
        attached: Condition = {"ArnLike": {"iam:PolicyARN": self._policies}}
        return [
            policy.allow(
                "BoundedRoles",
                (
                    "iam:CreateRole",
                    "iam:DeleteRolePolicy",
                    "iam:PutRolePermissionsBoundary",
                    "iam:PutRolePolicy",
                ),
                self._roles,
                condition=bounded,
            ),
            policy.allow(
                "BoundedAttachments",
                ("iam:AttachRolePolicy", "iam:DetachRolePolicy"),
                self._roles,
                condition={**bounded, **attached},
            ),
            policy.allow(
                "Roles",
                (
                    "iam:DeleteRole",
                    "iam:TagRole",
                    "iam:UntagRole",
                    "iam:UpdateRole",
                    "iam:UpdateRoleDescription",
                ),
                self._roles,
            ),
            policy.allow(
                "Policies",
                (
                    "iam:CreatePolicy",
                    "iam:CreatePolicyVersion",
                    "iam:DeletePolicy",
                    "iam:DeletePolicyVersion",
                    "iam:TagPolicy",
                    "iam:UntagPolicy",
                ),
                self._policies,
            ),
            policy.allow(
                "PassRoles",
                ["iam:PassRole"],
                self._roles,
                condition={"StringEquals": {"iam:PassedToService": list(PASSED_TO)}},
            ),
            policy.allow(
                "ServiceRoles",
                ["iam:CreateServiceLinkedRole"],
                f"arn:aws:iam::{self._account}:role/aws-service-role/*",
                condition={"StringEquals": {"iam:AWSServiceName": list(SERVICE_ROLES)}},
            ),
            policy.deny("NotItself", ["iam:*"], self._own),
            # The trust of a role that it creates could name the deploy role.
            policy.deny("NoOtherRole", ["sts:AssumeRole"], "*"),
        ]

    def boundary(self) -> list[Statement]:
        """Return the most that a role of the platform can be allowed."""
        objects = [f"{arn}/*" for arn in self._documents]
        return [
            policy.allow(
                "Items",
                (
                    "dynamodb:BatchGetItem",
                    "dynamodb:DescribeStream",
                    "dynamodb:GetItem",
                    "dynamodb:GetRecords",
                    "dynamodb:GetShardIterator",
                    "dynamodb:PutItem",
                    "dynamodb:Query",
                ),
                [*self._tables, *(f"{arn}/*" for arn in self._tables)],
            ),
            policy.allow(
                "Buckets",
                ("s3:GetReplicationConfiguration", "s3:ListBucket"),
                self._documents,
            ),
            policy.allow(
                "Documents",
                (
                    "s3:AbortMultipartUpload",
                    "s3:GetObject",
                    "s3:GetObjectVersion",
                    "s3:GetObjectVersionAcl",
                    "s3:GetObjectVersionForReplication",
                    "s3:GetObjectVersionTagging",
                    "s3:ListMultipartUploadParts",
                    "s3:PutObject",
                    "s3:ReplicateDelete",
                    "s3:ReplicateObject",
                    "s3:ReplicateTags",
                ),
                objects,
            ),
            policy.allow("Quarantine", QUARANTINE, objects, condition=ONLY_TO_QUARANTINE),
            # The policies of the keys name the role and the service of each use.
            policy.allow("Keys", (*policy.KEY_USE, "kms:GenerateMac"), self._keys),
            policy.allow(
                "DocumentsOfThePeer",
                ["sts:AssumeRole"],
                [site.role_arn(PEER_ROLE, site.region) for site in self._sites],
            ),
            *self._notifications(),
            policy.allow(
                "Logs",
                ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
                # One ARN for both regions keeps the policy short.
                sorted({re.sub(":logs:[^:]+:", ":logs:*:", arn) for arn in self._log_groups}),
            ),
            policy.allow("Find", ("dynamodb:ListStreams", "logs:DescribeLogGroups"), "*"),
            *self._faults(),
        ]

    @property
    def _undelivered(self) -> list[str]:
        return self._both("sqs", self.names.of("undelivered"))

    @property
    def _webhooks(self) -> list[str]:
        return self._both("ssm", f"parameter/{self.names.of('webhooks')}")

    def _notifications(self) -> list[Statement]:
        """Return the most that functions may do with notifications. One ARN for both regions keeps the policy short."""
        topic = f"arn:aws:sns:*:{self._account}:{self.names.of('operations')}"
        queue, parameter = self.names.of("undelivered"), self.names.of("webhooks")
        resources = (f"arn:aws:sqs:*:{self._account}:{queue}", f"arn:aws:ssm:*:{self._account}:parameter/{parameter}")
        return [
            policy.allow("Failures", ["sns:Publish"], topic),
            policy.allow("Recipients", ("sqs:SendMessage", "ssm:GetParameter"), resources),
        ]

    def _read_recipients(self) -> list[Statement]:
        """Return what planning reads of the queue, and of the parameter with the webhooks: their addresses as well."""
        return [
            policy.allow("Undelivered", ("sqs:GetQueueAttributes", "sqs:ListQueueTags"), self._undelivered),
            policy.allow("Webhooks", ("ssm:GetParameter", "ssm:ListTagsForResource"), self._webhooks),
            policy.allow("Parameters", ["ssm:DescribeParameters"], "*"),
            policy.allow("WebhooksKey", ["kms:Decrypt"], self._keys, condition=self._through("ssm")),
        ]

    def _write_recipients(self) -> list[Statement]:
        """Return what deploying changes of the queue and the parameter."""
        queue = ("sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue")
        tags = ("ssm:AddTagsToResource", "ssm:RemoveTagsFromResource")
        return [
            policy.allow("Undelivered", queue, self._undelivered),
            policy.allow(
                "SubscriptionsOfEndpoints", ["sns:SetSubscriptionAttributes"], "*", condition=self._in_regions()
            ),
            policy.allow("Webhooks", ("ssm:DeleteParameter", "ssm:PutParameter", *tags), self._webhooks),
            policy.allow("WebhooksKey", ["kms:Encrypt"], self._keys, condition=self._through("ssm")),
        ]

    def _faults(self) -> list[Statement]:
        """Return the most that FIS may do: change networks, and pause replication as its roles do."""
        pauses = {statement["Sid"]: statement for site in self._sites for statement in pausing(site)}
        return [
            policy.allow(
                "PauseTables", pauses["PauseTables"]["Action"], [*self._tables, *(f"{arn}/*" for arn in self._tables)]
            ),
            policy.allow(
                "PauseDocuments",
                pauses["PauseDocuments"]["Action"],
                self._documents,
                condition=pauses["PauseDocuments"]["Condition"],
            ),
            policy.allow("Disconnect", NETWORK_CHANGES, self._both("ec2", "*/*")),
            policy.allow(
                "ReadPrefixLists",
                ["ec2:GetManagedPrefixListEntries"],
                [f"arn:aws:ec2:{site.region}:*:prefix-list/*" for site in self._sites],
            ),
            policy.allow("FindNetwork", (*pauses["FindTargets"]["Action"], *NETWORK_READS), "*"),
        ]


__all__ = ["PipelineStack"]

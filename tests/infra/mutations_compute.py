"""Damage to functions, their events and schedules, their roles, and the API in front of them."""

import json

from healthcare_dr.naming import GLOBAL, PRIMARY
from infra.damage import REGIONAL, Mutations, add, remove_all, resource

FUNCTION, EVENT_TARGET, PERMISSION = "aws_lambda_function", "aws_cloudwatch_event_target", "aws_lambda_permission"


def compute_mutations() -> Mutations:
    for stack, role in REGIONAL:
        yield from api_function_mutations(stack)
        yield from worker_mutations(stack)
        yield from schedule_mutations(stack)
        yield from event_mutations(stack, role)
        yield from role_mutations(stack)
        yield from log_privilege_mutations(stack)
        yield from stage_mutations(stack)
        yield from table_privilege_mutations(stack)
        yield from route_mutations(stack)
    function = resource(PRIMARY, f"{FUNCTION}.patient_api")
    yield "function-size", function.put("publish", False)
    yield "role-for-each-function", function.put("role", "arn:aws:iam::123456789012:role/other")
    retention = resource(PRIMARY, "aws_cloudwatch_log_group.access_log_group").drop("retention_in_days")
    yield "log-groups", retention
    stage = resource(PRIMARY, "aws_apigatewayv2_stage.patient_api_stage")
    yield "access-log-private", stage.put("access_log_settings.format", "$context.requestId")
    cors = {"bucket": "${aws_s3_bucket.documents_primary.id}", "cors_rule": [{"allowed_origins": ["*"]}]}
    yield "cors-origins", add(GLOBAL, "aws_s3_bucket_cors_configuration.documents_cors_primary", cors)


def api_function_mutations(stack: str) -> Mutations:
    function = resource(stack, f"{FUNCTION}.patient_api")
    yield "function-size", remove_all(stack, FUNCTION)
    yield "function-size", function.put("memory_size", 1024)
    yield "function-size", function.put("timeout", 3)
    yield "function-size", function.put("filename", "handler.py")
    yield "function-environment", function.put("environment.variables.AWS_REGION", "us-east-1")
    for variable in ("TENANT_CLAIM", "OIDC_ISSUER", "CORS", "CLOCK_BOUND_SECONDS"):
        yield "function-environment", function.drop(f"environment.variables.{variable}")
    yield "function-outside-vpc", function.put("vpc_config", [{"subnet_ids": ["a"]}])
    yield "regions-carry-equal-load", function.put("reserved_concurrent_executions", 950)
    stage = resource(stack, "aws_apigatewayv2_stage.patient_api_stage")
    yield "regions-carry-equal-load", stage.put("default_route_settings.throttling_rate_limit", 3)
    yield "log-groups", resource(stack, "aws_cloudwatch_log_group.patient_api_log_group").remove()
    integration = resource(stack, "aws_apigatewayv2_integration.patient_api_integration")
    yield "api-calls-alias", integration.put("integration_uri", "${aws_lambda_function.patient_api.invoke_arn}")
    yield "api-calls-alias", resource(stack, f"{PERMISSION}.patient_api_permission").drop("qualifier")


def worker_mutations(stack: str) -> Mutations:
    for name in ("document_confirmation", "reconciliation", "sentinel"):
        function = resource(stack, f"{FUNCTION}.{name}")
        yield "worker-functions", function.put("timeout", 3)
        yield "worker-functions", function.put("memory_size", 128)
        yield "worker-functions", function.put("handler", "patient_api.handlers.api.handler")
        yield "worker-functions", function.remove()
        yield "regions-carry-equal-load", function.put("source_code_hash", "other")
        yield "encrypted-at-rest", function.drop("kms_key_arn")
        yield "log-groups", resource(stack, f"aws_cloudwatch_log_group.{name}_log_group").remove()
        for variable in ("INDEX_KEY_ALIAS", "PEER_ROLE_ARN"):
            yield "function-environment", function.drop(f"environment.variables.{variable}")
        yield "role-for-each-function", function.put("role", "${aws_iam_role.api_role.arn}")
    sentinel, endpoint = resource(stack, f"{FUNCTION}.sentinel"), "environment.variables.ENDPOINT"
    yield "sentinel-endpoint", sentinel.drop(endpoint)
    yield "sentinel-endpoint", sentinel.put(endpoint, "https://api.healthcare-dr-dev.com")
    invocations = "aws_lambda_function_event_invoke_config"
    confirming = resource(stack, f"{FUNCTION}.document_confirmation")
    yield "function-environment", confirming.drop("environment.variables.CLOCK_BOUND_SECONDS")
    confirmation = resource(stack, f"{invocations}.document_confirmation_calls")
    yield "async-failures", remove_all(stack, invocations)
    yield "async-failures", confirmation.put("maximum_retry_attempts", 0)
    yield "async-failures", confirmation.drop("destination_config")
    yield "async-failures", confirmation.drop("maximum_event_age_in_seconds")
    yield "sentinel-schedule", resource(stack, f"{invocations}.sentinel_calls").put("maximum_retry_attempts", 2)
    yield "sentinel-schedule", resource(stack, f"{invocations}.sentinel_calls").drop("maximum_event_age_in_seconds")
    for name in ("confirmation", "reconciliation"):
        policy = resource(stack, f"aws_iam_policy.{name}_policy")
        yield "workers-report-failures", policy.statement("Failures").remove()
        yield "workers-report-failures", policy.statement("Key").drop("Condition.StringEquals.kms:ViaService.-1")


def schedule_mutations(stack: str) -> Mutations:
    for name, found_by, rate in (
        ("sweep", "document-sweep", "rate(1 hour)"),
        ("sentinel", "sentinel-schedule", "rate(5 minutes)"),
    ):
        rule = resource(stack, f"aws_cloudwatch_event_rule.{name}_rule")
        yield found_by, rule.put("schedule_expression", rate)
        yield found_by, rule.put("state", "DISABLED")
        yield found_by, resource(stack, f"{EVENT_TARGET}.{name}_target").remove()
        yield found_by, resource(stack, f"{PERMISSION}.{name}_permission").remove()
        yield found_by, resource(stack, f"{PERMISSION}.{name}_permission").drop("source_arn")
    yield "document-sweep", resource(stack, f"{EVENT_TARGET}.sweep_target").drop("input")
    yield "names", resource(stack, "aws_cloudwatch_event_rule.sweep_rule").put("name", "healthcare-dr-sweep")


def event_mutations(stack: str, role: str) -> Mutations:
    notification = resource(GLOBAL, f"aws_s3_bucket_notification.replication_events_{role}")
    yield "document-events", notification.drop("lambda_function")
    yield "document-events", notification.drop("lambda_function.filter_prefix")
    yield "document-events", notification.put("lambda_function.events", ["s3:ObjectRemoved:*"])
    permission = resource(stack, f"{PERMISSION}.documents_permission")
    yield "document-events", permission.remove()
    yield "document-events", permission.drop("source_account")
    yield "document-events", permission.drop("source_arn")
    refusal = resource(GLOBAL, f"aws_s3_bucket_policy.documents_{role}_policy").statement("RefuseQuarantined")
    yield "quarantine", refusal.remove()
    yield "quarantine", refusal.drop("Action.-1")
    yield "quarantine", refusal.drop("Condition.ArnEquals.aws:PrincipalArn.-1")
    yield "quarantine", refusal.put("Effect", "Allow")


def role_mutations(stack: str) -> Mutations:
    attachment = resource(stack, "aws_iam_role_policy_attachment.patient_api_permissions")
    yield "role-attachments", attachment.put("role", "${aws_iam_role.api_role.arn}")
    for managed in ("AWSLambdaBasicExecutionRole", "AWSLambdaVPCAccessExecutionRole"):
        arn = f"arn:aws:iam::aws:policy/service-role/{managed}"
        yield "role-attachments", attachment.put("policy_arn", arn)
    trust = resource(stack, "aws_iam_role.documents_peer_role").statement("TrustPeer", "assume_role_policy")
    principal = "Condition.ArnEquals.aws:PrincipalArn"
    role_arn = "arn:aws:iam::123456789012:role/healthcare-dr-patient-api"
    yield "trust-across-regions", trust.put("Principal", {"AWS": role_arn})
    yield "trust-across-regions", trust.put("Principal", "*")
    yield "trust-across-regions", trust.put(principal, "role/*us-west-2*")
    yield "trust-across-regions", trust.drop(f"{principal}.-1")
    for policy, sid, action in (
        ("patient_api", "Audit", "dynamodb:*"),
        ("patient_api", "Audit", "dynamodb:DeleteItem"),
        ("patient_api", "Audit", "route53:ChangeResourceRecordSets"),
        ("patient_api", "Records", "dynamodb:UpdateItem"),
        ("patient_api", "Documents", "s3:DeleteObjectVersion"),
        ("confirmation", "Records", "dynamodb:BatchWriteItem"),
        ("reconciliation", "Records", "dynamodb:Scan"),
        ("reconciliation", "Records", "dynamodb:PartiQLUpdate"),
    ):
        yield (
            "least-privilege",
            resource(stack, f"aws_iam_policy.{policy}_policy").statement(sid).append("Action", action),
        )
    audit = resource(stack, "aws_iam_policy.patient_api_policy").statement("Audit")
    yield "least-privilege", audit.put("Resource", "*")
    streams = resource(stack, "aws_iam_policy.reconciliation_policy").statement("FindStreams")
    yield "least-privilege", streams.append("Action", "dynamodb:GetRecords")
    for name in ("confirmation", "documents_peer"):
        tagging = resource(stack, f"aws_iam_policy.{name}_policy")
        quarantine = tagging.statement("Quarantine")
        yield "quarantine-stays", quarantine.drop("Condition")
        lifted = {"StringEquals": {"s3:RequestObjectTag/quarantine": "false"}}
        yield "quarantine-stays", quarantine.put("Condition", lifted)
        yield "quarantine-stays", quarantine.append("Action", "s3:DeleteObjectTagging")
        yield "quarantine-stays", tagging.statement("Documents").append("Action", "s3:PutObjectTagging")


def log_privilege_mutations(stack: str) -> Mutations:
    rule = "function-log-privileges"
    for name in ("patient_api", "confirmation", "reconciliation", "sentinel"):
        logs = resource(stack, f"aws_iam_policy.{name}_policy").statement("Logs")
        yield rule, logs.append("Action", "logs:CreateLogGroup")
        yield rule, logs.remove()
        yield rule, logs.replace("Resource", "/aws/lambda/healthcare-dr-", "/aws/lambda/*-")
        yield rule, resource(stack, f"aws_iam_role_policy_attachment.{name}_permissions").remove()
    records = resource(stack, "aws_iam_policy.patient_api_policy").statement("Records")
    for action in ("logs:*", "*"):
        yield rule, records.append("Action", action)
    body = {
        "name": "healthcare-dr-logs-dev",
        "role": "${aws_iam_role.sentinel_role.name}",
        "policy": json.dumps(
            {"Statement": [{"Sid": "Logs", "Effect": "Allow", "Action": ["logs:CreateLogGroup"], "Resource": ["*"]}]}
        ),
    }
    yield rule, add(stack, "aws_iam_role_policy.logs", body)


def stage_mutations(stack: str) -> Mutations:
    kind = "aws_apigatewayv2_stage"
    clients, probes = resource(stack, f"{kind}.patient_api_stage"), resource(stack, f"{kind}.probe_stage")
    group = resource(stack, "aws_cloudwatch_log_group.access_log_group")
    log = {"destination_arn": "${aws_cloudwatch_log_group.access_log_group.arn}", "format": "$context.requestId"}
    rule = "access-log-of-clients"
    yield rule, probes.remove()
    yield rule, clients.remove()
    yield rule, probes.put("access_log_settings", log)
    yield rule, clients.drop("access_log_settings")
    yield rule, group.put("retention_in_days", 30)
    for stage in (clients, probes):
        yield "no-route-metrics", stage.put("default_route_settings.detailed_metrics_enabled", True)
        yield "no-route-metrics", stage.drop("default_route_settings.detailed_metrics_enabled")
    settings = [{"route_key": "GET /health", "detailed_metrics_enabled": True}]
    yield "no-route-metrics", probes.put("route_settings", settings)
    yield "regions-carry-equal-load", probes.put("default_route_settings.throttling_rate_limit", 3)


def table_privilege_mutations(stack: str) -> Mutations:
    for policy, sid, action in (
        ("confirmation", "Audit", "dynamodb:Query"),
        ("reconciliation", "Records", "dynamodb:ConditionCheckItem"),
        ("reconciliation", "Stream", "dynamodb:GetItem"),
        ("documents_peer", "Documents", "dynamodb:GetItem"),
        ("sentinel", "Heartbeats", "dynamodb:Query"),
    ):
        statement = resource(stack, f"aws_iam_policy.{policy}_policy").statement(sid)
        yield "table-privileges", statement.append("Action", action)
    for policy, sid in (
        ("patient_api", "Records"),
        ("confirmation", "Audit"),
        ("reconciliation", "Stream"),
        ("reconciliation", "FindStreams"),
        ("sentinel", "Heartbeats"),
    ):
        yield "table-privileges", resource(stack, f"aws_iam_policy.{policy}_policy").statement(sid).remove()
    stream = resource(stack, "aws_iam_policy.reconciliation_policy").statement("Stream")
    yield "table-privileges", stream.drop("Resource.-1")
    yield "table-privileges", resource(stack, "aws_iam_role_policy_attachment.reconciliation_permissions").remove()
    heartbeats = resource(stack, "aws_iam_policy.sentinel_policy").statement("Heartbeats")
    yield "sentinel-privileges", heartbeats.drop("Condition")
    yield "sentinel-privileges", heartbeats.drop("Condition.ForAllValues:StringEquals.dynamodb:LeadingKeys")


def route_mutations(stack: str) -> Mutations:
    kind = "aws_apigatewayv2_route"
    for name in ("route_post_fhir_type", "route_head_fhir_type_id", "route_default"):
        for scopes in (["system/*.cruds"], '${toset(["system/Patient.c"])}'):
            yield "routes-without-scopes", resource(stack, f"{kind}.{name}").put("authorization_scopes", scopes)
    for name in ("route_get_fhir_type_id_history", "route_options_proxy", "route_default"):
        yield "complete-routes", resource(stack, f"{kind}.{name}").remove()
    for origins in (["*"], ["https://app.example.com"]):
        block = {"allow_origins": origins, "expose_headers": ["etag", "location", "last-modified", "retry-after"]}
        api = resource(stack, "aws_apigatewayv2_api.patient_http_api")
        yield "cors-origins", api.put("cors_configuration", block)
    yield "closed-routes", resource(stack, f"{kind}.route_get_fhir_type_id").put("authorization_type", "NONE")
    for name, route_key in (("records", "GET /healthrecords/{id}"), ("open_audit", "GET /fhir/AuditEvent")):
        body = {"route_key": route_key, "authorization_type": "NONE"}
        yield "closed-routes", add(stack, f"{kind}.{name}", body)
    yield "closed-routes", add(stack, "aws_cognito_user_pool.p", {"name": "p-dev"})
    for variable in ("$context.path", "$request.querystring.family"):
        log_format = json.dumps({"k": "$context.routeKey", "s": "$context.status", "p": variable})
        stage = resource(stack, "aws_apigatewayv2_stage.patient_api_stage")
        yield "access-log-private", stage.put("access_log_settings.format", log_format)

"""Damage to the routes of the API, and to the log of their calls."""

import json
from collections.abc import Iterator

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from infra.mutations import Mutation, add, put, remove


def route_mutations() -> Iterator[Mutation]:
    route, stage = "aws_apigatewayv2_route", "aws_apigatewayv2_stage"
    for stack in (PRIMARY, SECONDARY):
        for name in ("route_post_fhir_type", "route_head_fhir_type_id", "route_default"):
            for form, scopes in (("list", ["system/*.cruds"]), ("expression", '${toset(["system/Patient.c"])}')):
                scoped = put(stack, route, name, "authorization_scopes", scopes)
                yield Mutation(f"{stack}-{name}-scopes-{form}", "routes-without-scopes", scoped, ("C6",))
        for name in ("route_get_fhir_type_id_history", "route_options_proxy", "route_default"):
            yield Mutation(f"{stack}-no-{name}", "complete-routes", remove(stack, route, name), ("C6",))
        for name, allowed in (("any", ["*"]), ("unasked", ["https://app.example.com"])):
            block = {"allow_origins": allowed, "expose_headers": ["etag", "location", "last-modified", "retry-after"]}
            crossed = put(stack, "aws_apigatewayv2_api", "patient_http_api", "cors_configuration", block)
            yield Mutation(f"{stack}-cors-{name}", "cors-origins", crossed, ("C6",))
        opened = add(stack, route, "open_audit", {"route_key": "GET /fhir/AuditEvent", "authorization_type": "NONE"})
        yield Mutation(f"{stack}-audit-open", "closed-routes", opened, ("C6",))
        for told in ("$context.path", "$request.querystring.family"):
            logged = put(stack, stage, "patient_api_stage", "access_log_settings.format",
                         json.dumps({"k": "$context.routeKey", "s": "$context.status", "p": told}))  # fmt: skip
            yield Mutation(f"{stack}-logs-{told}", "access-log-private", logged, ("C6",), (42,))
    rule = {"bucket": "${aws_s3_bucket.documents_primary.id}", "cors_rule": [{"allowed_origins": ["*"]}]}
    crossed = add(GLOBAL, "aws_s3_bucket_cors_configuration", "documents_cors_primary", rule)
    yield Mutation("documents-cors-any", "cors-origins", crossed, ("C6",))

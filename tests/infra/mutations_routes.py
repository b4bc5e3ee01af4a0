"""Damage to the routes of the API, to their scopes, and to the log of their calls."""

import json
from collections.abc import Callable, Iterator

from healthcare_dr.naming import PRIMARY, SECONDARY
from infra.mutations import Damage, Documents, Mutation, add, drop, put, remove, res


def route_mutations() -> Iterator[Mutation]:
    route, stage = "aws_apigatewayv2_route", "aws_apigatewayv2_stage"
    for stack in (PRIMARY, SECONDARY):
        for name, change in (
            ("verb", lambda found: found.append("system/Patient.r")),
            ("type", lambda found: found.append("system/Observation.cruds")),
            ("context", lambda found: found.append("patient/Patient.c")),
            ("none", lambda found: found.clear()),
            ("many", lambda found: found.extend(["user/Patient.c"] * 10)),
        ):
            damage = _scopes(stack, "route_post_fhir_patient", change)
            yield Mutation(f"{stack}-scope-{name}", "route-scopes", damage, ("C6",))
        unscoped = drop(stack, route, "route_get_fhir_auditevent", "authorization_scopes")
        yield Mutation(f"{stack}-unscoped", "route-scopes", unscoped, ("C6",))
        gone = remove(stack, route, "route_get_fhir_patient_id_history")
        headless = _scopes(stack, "route_head_fhir_patient_id", lambda found: found.append("system/Patient.s"))
        yield Mutation(f"{stack}-scope-head", "route-scopes", headless, ("C6",))
        yield Mutation(f"{stack}-route-gone", "route-scopes", gone, ("C6",))
        opened = add(stack, route, "open_audit", {"route_key": "GET /fhir/AuditEvent", "authorization_type": "NONE"})
        yield Mutation(f"{stack}-audit-open", "closed-routes", opened, ("C6",))
        for told in ("$context.path", "$request.querystring.family"):
            logged = put(stack, stage, "patient_api_stage", "access_log_settings.format",
                         json.dumps({"k": "$context.routeKey", "s": "$context.status", "p": told}))  # fmt: skip
            yield Mutation(f"{stack}-logs-{told}", "access-log-private", logged, ("C6",), (42,))


def _scopes(stack: str, name: str, change: Callable[[list[str]], object]) -> Damage:
    def damage(documents: Documents) -> None:
        body = res(stack, "aws_apigatewayv2_route", name)(documents)
        before, found, after = _parted(body["authorization_scopes"])
        change(found)
        body["authorization_scopes"] = f"{before}{json.dumps(found)}{after}"

    return damage


def _parted(expression: str) -> tuple[str, list[str], str]:
    start, end = expression.index("["), expression.rindex("]") + 1
    return expression[:start], json.loads(expression[start:end]), expression[end:]

"""Damages to functions, roles and the API."""

import io
import json
import zipfile

from support.damages.registry import EAST, WEST, Undo, damage
from support.platform import SUFFIX, Deployed


@damage("functions", WEST, "Timeout is 3, not 60")
def function_with_another_timeout(deployed: Deployed) -> Undo:
    client, name = deployed.client("lambda", WEST), deployed.names.of("reconciliation")
    client.update_function_configuration(FunctionName=name, Timeout=3)
    return lambda: client.update_function_configuration(FunctionName=name, Timeout=60)


@damage("functions", EAST, "the variables LOG_LEVEL, PEER_REGION are not those deployed")
def function_with_other_variables(deployed: Deployed) -> Undo:
    client, name = deployed.client("lambda"), deployed.names.of("reconciliation")
    before = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    changed = {variable: value for variable, value in before.items() if variable != "PEER_REGION"}
    changed["LOG_LEVEL"] = "DEBUG"
    client.update_function_configuration(FunctionName=name, Environment={"Variables": changed})
    return lambda: client.update_function_configuration(FunctionName=name, Environment={"Variables": before})


@damage("functions", WEST, "live calls version $LATEST, not ")
def alias_of_another_version(deployed: Deployed) -> Undo:
    client, alias = deployed.client("lambda", WEST), {"FunctionName": deployed.names.of("patient-api"), "Name": "live"}
    before = client.get_alias(**alias)["FunctionVersion"]
    client.update_alias(**alias, FunctionVersion="$LATEST")
    return lambda: client.update_alias(**alias, FunctionVersion=before)


@damage("functions-equal", None, f"healthcare-dr-reconciliation-{SUFFIX}: CodeSha256 is")
def function_with_other_code_in_one_region(deployed: Deployed) -> Undo:
    client, name = deployed.client("lambda", WEST), deployed.names.of("reconciliation")
    (kept,) = {file.read_bytes() for file in deployed.home.rglob("healthcare-dr-secondary/assets/**/patient-api.zip")}
    other = io.BytesIO(kept)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("another.txt", "another release")
    client.update_function_code(FunctionName=name, ZipFile=other.getvalue())
    return lambda: client.update_function_code(FunctionName=name, ZipFile=kept)


@damage("function-concurrency", WEST, f"healthcare-dr-patient-api-{SUFFIX} has 0 reserved concurrency")
def throttled_function(deployed: Deployed) -> Undo:
    return throttled(deployed, WEST)


@damage("endpoint", EAST, "the endpoint returns 429 to GET /health")
def throttled_endpoint(deployed: Deployed) -> Undo:
    return throttled(deployed, EAST)


def throttled(deployed: Deployed, region: str) -> Undo:
    client, name = deployed.client("lambda", region), deployed.names.of("patient-api")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    return lambda: client.delete_function_concurrency(FunctionName=name)


@damage(
    "function-callers",
    EAST,
    f"events.amazonaws.com has no permission to invoke healthcare-dr-document-confirmation-{SUFFIX}",
)
def schedule_without_permission(deployed: Deployed) -> Undo:
    client, name = deployed.client("lambda"), deployed.names.of("document-confirmation")
    rule = f"arn:aws:events:{EAST}:{deployed.account()}:rule/{deployed.names.of('sweep')}"
    client.remove_permission(FunctionName=name, StatementId="sweep")

    def undo() -> None:
        client.add_permission(
            FunctionName=name, StatementId="sweep", Action="lambda:InvokeFunction", Principal="events.amazonaws.com",
            SourceArn=rule,
        )  # fmt: skip

    return undo


@damage("event-sources", WEST, f"reading the stream of audit_logs-{SUFFIX} is Disabled")
def disabled_stream(deployed: Deployed) -> Undo:
    client = deployed.client("lambda", WEST)
    (mapping,) = (
        found for found in client.list_event_source_mappings()["EventSourceMappings"]
        if f"table/{deployed.names.audit_table}/" in found["EventSourceArn"]
    )  # fmt: skip
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    return lambda: client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@damage("schedules", EAST, f"healthcare-dr-sweep-{SUFFIX} is DISABLED")
def disabled_sweep(deployed: Deployed) -> Undo:
    client, name = deployed.client("events"), deployed.names.of("sweep")
    client.disable_rule(Name=name)
    return lambda: client.enable_rule(Name=name)


@damage("api", WEST, "the stage $default of the API admits 10.0 requests a second")
def api_with_a_low_rate_limit(deployed: Deployed) -> Undo:
    client, stage = deployed.client("apigatewayv2", WEST), {"ApiId": deployed.api_id(WEST), "StageName": "$default"}
    before = client.get_stage(**stage)["DefaultRouteSettings"]
    client.update_stage(**stage, DefaultRouteSettings=before | {"ThrottlingRateLimit": 10.0})
    return lambda: client.update_stage(**stage, DefaultRouteSettings=before)


@damage("api", WEST, "the stage $default of the API has the access log")
def api_with_another_access_log(deployed: Deployed) -> Undo:
    client, stage = deployed.client("apigatewayv2", WEST), {"ApiId": deployed.api_id(WEST), "StageName": "$default"}
    before = client.get_stage(**stage)["AccessLogSettings"]
    other = before["DestinationArn"].replace(deployed.names.log_group("access"), deployed.names.log_group("flow"))
    client.update_stage(**stage, AccessLogSettings=before | {"DestinationArn": other})
    return lambda: client.update_stage(**stage, AccessLogSettings=before)


@damage("api", EAST, "the route GET /fhir/{type} requires another authorization")
def route_with_other_scopes(deployed: Deployed) -> Undo:
    client, api = deployed.client("apigatewayv2"), deployed.api_id(EAST)
    (route,) = (found for found in client.get_routes(ApiId=api)["Items"] if found["RouteKey"] == "GET /fhir/{type}")
    of = {"ApiId": api, "RouteId": route["RouteId"]}
    client.update_route(**of, AuthorizationScopes=["system/Patient.r"])
    return lambda: client.update_route(**of, AuthorizationScopes=[])


@damage("roles", WEST, f"trust of healthcare-dr-documents-peer-us-west-2-{SUFFIX}: the statement TrustPeer has changed")
def role_with_another_trust(deployed: Deployed) -> Undo:
    client, name = deployed.client("iam"), deployed.names.of("documents-peer", WEST)
    before = client.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    changed = json.loads(json.dumps(before))
    changed["Statement"][0]["Condition"]["ArnEquals"]["aws:PrincipalArn"] = ["arn:aws:iam::123456789012:role/other"]
    client.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(changed))
    return lambda: client.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before))


@damage(
    "roles",
    EAST,
    f"healthcare-dr-patient-api-us-east-1-{SUFFIX} has lost the policy healthcare-dr-patient-api-us-east-1-{SUFFIX}",
)
def role_without_its_policy(deployed: Deployed) -> Undo:
    client, name = deployed.client("iam"), deployed.names.of("patient-api", EAST)
    policy = {"RoleName": name, "PolicyArn": f"arn:aws:iam::{deployed.account()}:policy/{name}"}
    client.detach_role_policy(**policy)
    return lambda: client.attach_role_policy(**policy)


@damage("permissions", EAST, f"healthcare-dr-patient-api-us-east-1-{SUFFIX} is denied dynamodb:PutItem")
def role_with_an_explicit_denial(deployed: Deployed) -> Undo:
    client, name = deployed.client("iam"), deployed.names.of("patient-api", EAST)
    denial = {"Effect": "Deny", "Action": "dynamodb:PutItem", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [denial]})
    client.put_role_policy(RoleName=name, PolicyName="incident", PolicyDocument=document)
    return lambda: client.delete_role_policy(RoleName=name, PolicyName="incident")

"""Damages to what serves: functions, roles, API."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from support.damages.registry import EAST, WEST, damage
from support.platform import SUFFIX, Deployed


@damage("functions", WEST, "Timeout is 3, not 60")
def a_function_with_another_timeout(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("lambda", WEST), deployed.names.of("reconciliation")
    client.update_function_configuration(FunctionName=name, Timeout=3)
    try:
        yield
    finally:
        client.update_function_configuration(FunctionName=name, Timeout=60)


@damage("functions", EAST, "the variables LOG_LEVEL, PEER_REGION are not those deployed")
def a_function_with_other_variables(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("lambda"), deployed.names.of("reconciliation")
    before = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    changed = {variable: value for variable, value in before.items() if variable != "PEER_REGION"} | {
        "LOG_LEVEL": "DEBUG"
    }
    client.update_function_configuration(FunctionName=name, Environment={"Variables": changed})
    try:
        yield
    finally:
        client.update_function_configuration(FunctionName=name, Environment={"Variables": before})


@damage("functions", WEST, "live calls version $LATEST, not ")
def an_alias_that_calls_something_else(deployed: Deployed) -> Iterator[None]:
    client, alias = deployed.client("lambda", WEST), {"FunctionName": deployed.names.of("patient-api"), "Name": "live"}
    before = client.get_alias(**alias)["FunctionVersion"]
    client.update_alias(**alias, FunctionVersion="$LATEST")
    try:
        yield
    finally:
        client.update_alias(**alias, FunctionVersion=before)


@damage("functions-equal", None, f"healthcare-dr-reconciliation-{SUFFIX}: CodeSha256 is")
def another_code_in_one_region(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("lambda", WEST), deployed.names.of("reconciliation")
    (kept,) = {file.read_bytes() for file in deployed.home.rglob("healthcare-dr-secondary/assets/**/patient-api.zip")}
    other = io.BytesIO(kept)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("another.txt", "another release")
    client.update_function_code(FunctionName=name, ZipFile=other.getvalue())
    try:
        yield
    finally:
        client.update_function_code(FunctionName=name, ZipFile=kept)


@damage("function-concurrency", WEST, f"healthcare-dr-patient-api-{SUFFIX} has 0 reserved concurrency")
def a_throttled_function(deployed: Deployed) -> Iterator[None]:
    with throttled(deployed, WEST):
        yield


@damage("endpoint", EAST, "the endpoint answers 429 to GET /health")
def an_endpoint_that_says_no(deployed: Deployed) -> Iterator[None]:
    with throttled(deployed, EAST):
        yield


@contextmanager
def throttled(deployed: Deployed, region: str) -> Iterator[None]:
    client, name = deployed.client("lambda", region), deployed.names.of("patient-api")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        client.delete_function_concurrency(FunctionName=name)


@damage(
    "function-callers",
    EAST,
    f"events.amazonaws.com has no permission to invoke healthcare-dr-document-confirmation-{SUFFIX}",
)
def a_schedule_without_leave(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("lambda"), deployed.names.of("document-confirmation")
    rule = f"arn:aws:events:{EAST}:{deployed.account()}:rule/{deployed.names.of('sweep')}"
    client.remove_permission(FunctionName=name, StatementId="sweep")
    try:
        yield
    finally:
        client.add_permission(
            FunctionName=name, StatementId="sweep", Action="lambda:InvokeFunction", Principal="events.amazonaws.com",
            SourceArn=rule,
        )  # fmt: skip


@damage("event-sources", WEST, f"reading the stream of audit_logs-{SUFFIX} is Disabled")
def a_stream_nobody_reads(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("lambda", WEST)
    (mapping,) = (
        found for found in client.list_event_source_mappings()["EventSourceMappings"]
        if f"table/{deployed.names.audit_table}/" in found["EventSourceArn"]
    )  # fmt: skip
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@damage("schedules", EAST, f"healthcare-dr-sweep-{SUFFIX} is DISABLED")
def a_sweep_that_is_off(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("events"), deployed.names.of("sweep")
    client.disable_rule(Name=name)
    try:
        yield
    finally:
        client.enable_rule(Name=name)


@damage("api", WEST, "the API admits 10.0 requests a second")
def an_api_that_admits_little(deployed: Deployed) -> Iterator[None]:
    client, stage = deployed.client("apigatewayv2", WEST), {"ApiId": deployed.api_id(WEST), "StageName": "$default"}
    before = client.get_stage(**stage)["DefaultRouteSettings"]
    client.update_stage(**stage, DefaultRouteSettings=before | {"ThrottlingRateLimit": 10.0})
    try:
        yield
    finally:
        client.update_stage(**stage, DefaultRouteSettings=before)


@damage("api", EAST, "the route GET /fhir/{type} requires another authorization")
def a_route_with_other_scopes(deployed: Deployed) -> Iterator[None]:
    client, api = deployed.client("apigatewayv2"), deployed.api_id(EAST)
    (route,) = (found for found in client.get_routes(ApiId=api)["Items"] if found["RouteKey"] == "GET /fhir/{type}")
    of = {"ApiId": api, "RouteId": route["RouteId"]}
    client.update_route(**of, AuthorizationScopes=["system/Patient.r"])
    try:
        yield
    finally:
        client.update_route(**of, AuthorizationScopes=[])


@damage("roles", WEST, f"trust of healthcare-dr-documents-peer-us-west-2-{SUFFIX}: the statement TrustPeer has changed")
def a_role_that_trusts_nobody(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("iam"), deployed.names.of("documents-peer", WEST)
    before = client.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    changed = json.loads(json.dumps(before))
    changed["Statement"][0]["Condition"]["ArnEquals"]["aws:PrincipalArn"] = ["arn:aws:iam::123456789012:role/other"]
    client.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(changed))
    try:
        yield
    finally:
        client.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before))


@damage(
    "roles",
    EAST,
    f"healthcare-dr-patient-api-us-east-1-{SUFFIX} has lost the policy healthcare-dr-patient-api-us-east-1-{SUFFIX}",
)
def a_role_without_its_policy(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("iam"), deployed.names.of("patient-api", EAST)
    policy = {"RoleName": name, "PolicyArn": f"arn:aws:iam::{deployed.account()}:policy/{name}"}
    client.detach_role_policy(**policy)
    try:
        yield
    finally:
        client.attach_role_policy(**policy)


@damage("permissions", EAST, f"healthcare-dr-patient-api-us-east-1-{SUFFIX} is refused dynamodb:PutItem")
def an_explicit_denial(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("iam"), deployed.names.of("patient-api", EAST)
    denial = {"Effect": "Deny", "Action": "dynamodb:PutItem", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [denial]})
    client.put_role_policy(RoleName=name, PolicyName="incident", PolicyDocument=document)
    try:
        yield
    finally:
        client.delete_role_policy(RoleName=name, PolicyName="incident")

"""Checks of the functions: configuration, permissions, event sources, and equality of both regions."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from healthcare_dr.ops.terraform.state import Resource
from healthcare_dr.ops.verify.check import REDEPLOY, each_region, platform
from healthcare_dr.ops.verify.live_target import Answer, LiveTarget
from healthcare_dr.ops.verify.policies import statements

MISSING = ("ResourceNotFoundException",)
# The settings of a function, and their names in Terraform's state.
SETTINGS = {
    "MemorySize": "memory_size",
    "Timeout": "timeout",
    "Handler": "handler",
    "Runtime": "runtime",
    "Role": "role",
    "KMSKeyArn": "kms_key_arn",
}
COMPARED = ("CodeSha256", "MemorySize", "Timeout", "Handler", "Runtime", "Architectures")


@each_region(
    "functions", "R2.1", "R2.2", "R2.3",
    expects="Every function exists and is active, with the deployed memory, timeout, role, key and variables, and its "
    "alias refers to the deployed version",
    why="With changed functions a region can pass its health check and still fail other requests.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def functions(live: LiveTarget, region: str) -> Iterator[str]:
    for deployed in live.deployed.of("aws_lambda_function", region):
        name = deployed["function_name"]
        found = _configuration(live, region, name)
        if found is None:
            yield f"{name} does not exist"
            continue
        if found.get("State") == "Failed":
            yield f"{name} cannot run: {found.get('StateReason', '')}"
        if found.get("LastUpdateStatus", "Successful") == "Failed":
            yield f"the last update of {name} failed"
        for setting, attribute in SETTINGS.items():
            if found.get(setting) != deployed[attribute]:
                yield f"{name}: {setting} is {found.get(setting)}, not {deployed[attribute]}"
        for alias in (alias for alias in live.deployed.of("aws_lambda_alias", region) if _is_of(alias, name)):
            called = (
                live.request_optional("lambda", region, "get_alias", MISSING, FunctionName=name, Name=alias["name"])
                or {}
            )
            if called.get("FunctionVersion") != alias["function_version"]:
                version = called.get("FunctionVersion", "nothing")
                yield f"{name}: {alias['name']} calls version {version}, not {alias['function_version']}"
            others = (called.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
            if others != _other_versions(alias):
                yield f"{name}: {alias['name']} shares its calls with other versions: {others or 'none'}"
        wanted = _variables(deployed)
        actual = (found.get("Environment") or {}).get("Variables") or {}
        if changed := sorted(key for key in wanted.keys() | actual.keys() if wanted.get(key) != actual.get(key)):
            yield f"{name}: the variables {', '.join(changed)} are not those deployed"


@platform(
    "functions-equal", "R2.1", "C1", "trap 33", "trap 39",
    expects="Both regions run the same functions: hash of the code, memory, timeout, runtime and variables. For the "
    "API function, the version that its alias calls is compared",
    why="A region with other code may not read what the other has written, when it has to serve alone.",
    fix="`hdr deploy`: it applies the same package to both regions",
    gates_restore=True,
)  # fmt: skip
def equal(live: LiveTarget, region: str) -> Iterator[str]:
    peer = live.peer(region)
    names = {place: {found["function_name"] for found in live.deployed.of("aws_lambda_function", place)}
             for place in live.settings.regions}  # fmt: skip
    for name in sorted(names[region] ^ names[peer]):
        yield f"{name} was deployed to one region only"
    for name in sorted(names[region] & names[peer]):
        here, there = _served(live, region, name), _served(live, peer, name)
        if here is None or there is None:
            yield f"{name} cannot be compared: it is missing in {region if here is None else peer}"
            continue
        for what in here:
            if here[what] != there[what]:
                yield f"{name}: {what} is {here[what]} in {region}, but {there[what]} in {peer}"


@each_region(
    "function-concurrency", "C1", "trap 33", "trap 34",
    expects="No function has a reserved concurrency other than the one deployed",
    why="A reservation, such as one of 0 after an incident, throttles the region under the load of both.",
    fix="`aws lambda delete-function-concurrency --function-name FUNCTION --region REGION`",
    gates_restore=True,
)  # fmt: skip
def concurrency(live: LiveTarget, region: str) -> Iterator[str]:
    for deployed in live.deployed.of("aws_lambda_function", region):
        name, wanted = deployed["function_name"], deployed["reserved_concurrent_executions"]
        found = live.request_optional("lambda", region, "get_function_concurrency", MISSING, FunctionName=name) or {}
        reserved = found.get("ReservedConcurrentExecutions", -1)
        if reserved != (-1 if wanted is None else wanted):
            yield f"{name} has {reserved if reserved >= 0 else 'no'} reserved concurrency"


@each_region(
    "function-callers", "R2.1", "C3",
    expects="The API, the bucket and the schedules have permission to invoke their functions",
    why="Without these permissions the API answers every call with 500, and no upload is ever confirmed.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def callers(live: LiveTarget, region: str) -> Iterator[str]:
    for deployed in live.deployed.of("aws_lambda_permission", region):
        name = str(deployed["function_name"]).rpartition(":")[2]
        qualified = {"Qualifier": deployed["qualifier"]} if deployed["qualifier"] else {}
        found = live.request_optional("lambda", region, "get_policy", MISSING, FunctionName=name, **qualified)
        sids = [statement.get("Sid") for statement in statements(found["Policy"])] if found else []
        if deployed["statement_id"] not in sids:
            yield f"{deployed['principal']} has no permission to invoke {name}"


@each_region(
    "event-sources", "C3", "trap 1",
    expects="The reconciliation function reads the streams of both tables, and no event source is disabled",
    why="A stream keeps a change for 24 hours: conflicts that are not read by then are never found.",
    fix="`aws lambda update-event-source-mapping --uuid UUID --enabled --region REGION`, or `hdr deploy`",
    gates_restore=True,
)  # fmt: skip
def event_sources(live: LiveTarget, region: str) -> Iterator[str]:
    found = {
        mapping["UUID"]: mapping
        for mapping in live.request("lambda", region, "list_event_source_mappings")["EventSourceMappings"]
    }
    for deployed in live.deployed.of("aws_lambda_event_source_mapping", region):
        table = str(deployed["event_source_arn"]).partition("/")[2].partition("/")[0]
        mapping = found.get(deployed["uuid"])
        if mapping is None:
            yield f"nothing reads the stream of {table}"
        elif mapping.get("State") not in ("Enabled", "Enabling", "Creating", "Updating"):
            yield f"reading the stream of {table} is {mapping.get('State')}"
        elif str(mapping.get("LastProcessingResult", "")).startswith("PROBLEM"):
            yield f"reading the stream of {table} fails: {mapping['LastProcessingResult']}"


@each_region(
    "schedules", "C3", "trap 7",
    expects="The schedules of every minute are enabled and invoke their functions",
    why="Only the sweep finds documents whose events were missed.",
    fix="`aws events enable-rule --name RULE --region REGION`, or `hdr deploy`",
    gates_restore=True,
)  # fmt: skip
def schedules(live: LiveTarget, region: str) -> Iterator[str]:
    targets = {(target["rule"], target["arn"]) for target in live.deployed.of("aws_cloudwatch_event_target", region)}
    for deployed in live.deployed.of("aws_cloudwatch_event_rule", region):
        name = deployed["name"]
        rule = live.request_optional("events", region, "describe_rule", MISSING, Name=name)
        if rule is None:
            yield f"{name} does not exist"
        elif rule.get("State") != "ENABLED":
            yield f"{name} is {rule.get('State')}"
        elif rule.get("ScheduleExpression") != deployed["schedule_expression"]:
            yield f"{name} runs at {rule.get('ScheduleExpression')}, not {deployed['schedule_expression']}"
        else:
            found = {
                target["Arn"] for target in live.request("events", region, "list_targets_by_rule", Rule=name)["Targets"]
            }
            for arn in sorted(arn for rule_name, arn in targets if rule_name == name and arn not in found):
                yield f"{name} does not call {arn.rpartition(':')[2]}"


def _configuration(live: LiveTarget, region: str, name: str, **qualified: str) -> Answer | None:
    return live.request_optional(
        "lambda", region, "get_function_configuration", MISSING, FunctionName=name, **qualified
    )


def _served(live: LiveTarget, region: str, name: str) -> Mapping[str, Any] | None:
    """Return the configuration of a function that must be equal in both regions."""
    aliases = [alias["name"] for alias in live.deployed.of("aws_lambda_alias", region) if _is_of(alias, name)]
    found = _configuration(live, region, name, **({"Qualifier": aliases[0]} if aliases else {}))
    if found is None:
        return None
    variables = (found.get("Environment") or {}).get("Variables") or {}
    return {what: found.get(what) for what in COMPARED} | {"the set of variables": json.dumps(sorted(variables))}


def _is_of(alias: Resource, name: str) -> bool:
    return str(alias["function_name"]).rpartition(":")[2] == name


def _other_versions(alias: Resource) -> Mapping[str, float]:
    blocks = alias["routing_config"] or [{}]
    return blocks[0].get("additional_version_weights") or {}


def _variables(deployed: Resource) -> Mapping[str, str]:
    blocks = deployed["environment"] or [{}]
    return blocks[0].get("variables") or {}

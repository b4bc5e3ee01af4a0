"""Damage to fault injection, in stacks that have it."""

from collections.abc import Callable, Iterator
from typing import Any

from healthcare_dr.naming import PRIMARY, SECONDARY
from infra.mutations import Damage, Documents, Mutation, altered, drop, put, remove, statements, with_action

KIND, POLICY = "aws_fis_experiment_template", "aws_iam_role_policy"
REGIONAL = ((PRIMARY, "primary"), (SECONDARY, "secondary"))


def fault_mutations() -> Iterator[Mutation]:
    for stack, role in REGIONAL:
        for name in ("pause_tables", "pause_documents", "disconnect"):
            template = f"{name}_{role}"

            def found(what: str, damage: Damage, *requirements: str, template: str = template) -> Mutation:
                return Mutation(f"{template}-{what}", "fault-templates", damage, requirements)

            yield found("missing", remove(stack, KIND, template), "D7")
            yield found("renamed", put(stack, KIND, template, "tags.Name", "healthcare-dr-other-dev"), "D7")
            yield found("unstopped", put(stack, KIND, template, "stop_condition", [{"source": "none"}]), "C3")
            foreign = [{"source": "aws:cloudwatch:alarm", "value": "${aws_cloudwatch_metric_alarm.api_latency.arn}"}]
            yield found("stopped-by-another", put(stack, KIND, template, "stop_condition", foreign), "C3")
            yield found("endless", of_action(stack, template, lambda action: action["parameter"].pop(0)), "C3")
            yield found("for-a-day", of_action(stack, template, for_a_day), "C3")
        for name, aim in (
            ("pause_tables", {"resource_arns": ["arn:aws:dynamodb:us-east-1:123456789012:table/other"]}),
            ("pause_documents", {"resource_tag": [{"key": "DataClass", "value": "phi"}]}),
            ("disconnect", {"resource_arns": ["${aws_vpc.vpc.arn}"]}),
        ):
            aimed = of_target(stack, f"{name}_{role}", aim)
            yield Mutation(f"{name}_{role}-aims-elsewhere", "fault-templates", aimed, ("C3",))
        yield from roles(stack, role)


def roles(stack: str, role: str) -> Iterator[Mutation]:
    policy = f"disconnect_policy_{role}"
    for name in ("faults", "disconnect"):
        trust = altered(
            "TrustService", lambda s: s.update(Principal={"Service": ["fis.amazonaws.com", "ec2.amazonaws.com"]})
        )
        unbound = altered("TrustService", lambda s: s.pop("Condition"))
        for what, change in (("trusts-another", trust), ("for-any-account", unbound)):
            damage = statements(stack, "aws_iam_role", f"{name}_role_{role}", "assume_role_policy", change)
            yield Mutation(f"{name}_{role}-{what}", "fault-roles", damage, ("C6",))
    yield Mutation(
        f"disconnect_{role}-roleless", "fault-roles", drop(stack, KIND, f"disconnect_{role}", "role_arn"), ("C6",)
    )
    for what, change in (
        ("untagged", altered("UseAndRemoveCreated", lambda s: s.pop("Condition"))),
        ("makes-untagged", altered("Create", lambda s: s.pop("Condition"))),
        ("any-subnet", altered("SwapRouteTables", lambda s: s.update(Resource="arn:aws:ec2:*:*:subnet/*"))),
        ("any-endpoint", altered("KeepEndpoints", lambda s: s.update(Resource="*"))),
        ("any-group", altered("CreateInNetwork", with_more("ec2:ModifySecurityGroupRules"))),
        ("terminates", with_action("SwapRouteTables", "ec2:TerminateInstances")),
    ):
        yield Mutation(
            f"disconnect_{role}-{what}", "fault-roles", statements(stack, POLICY, policy, "policy", change), ("C6",)
        )
    for what, holder, change in (
        ("pauses-and-cuts", f"faults_policy_{role}", with_action("PauseTables", "ec2:ReplaceRouteTableAssociation")),
        ("terminates-instances", policy, with_action("SwapRouteTables", "ec2:TerminateInstances")),
        ("reads-all", f"faults_policy_{role}", with_action("FindTargets", "ec2:DescribeSubnets")),
        ("every-table", f"faults_policy_{role}", altered("PauseTables", lambda s: s.update(Resource="*"))),
    ):
        damage = statements(stack, POLICY, holder, "policy", change)
        yield Mutation(f"faults_{role}-{what}", "least-privilege", damage, ("C6",), (27,))


def for_a_day(action: dict[str, Any]) -> None:
    action["parameter"] = [{"key": "duration", "value": "PT21H"}]


def with_more(action: str) -> Callable[[dict[str, Any]], object]:
    return lambda statement: statement["Action"].append(action)


def of_action(stack: str, template: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    """Damage to the last action of a template, whose first parameter is its duration."""

    def damage(documents: Documents) -> None:
        change(documents[stack]["resource"][KIND][template]["action"][-1])

    return damage


def of_target(stack: str, template: str, aim: dict[str, Any]) -> Damage:
    """Another aim of the last target of a template."""

    def damage(documents: Documents) -> None:
        target = documents[stack]["resource"][KIND][template]["target"][-1]
        target.pop("resource_arns", None)
        target.pop("resource_tag", None)
        target.update(aim)

    return damage

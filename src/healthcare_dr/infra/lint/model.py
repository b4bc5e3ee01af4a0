"""The model of lint rules: a rule, its findings, and the synthesized JSON as resources by region."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from healthcare_dr.settings import Settings

# The expression for the account, which Terraform resolves when it plans.
ACCOUNT = "${data.aws_caller_identity.account.account_id}"

_REFERENCE = re.compile(r"^\$\{((?:data\.)?[a-z0-9_]+\.[a-z0-9_]+)")


@dataclass(frozen=True)
class Resource:
    """One resource or data source, with the region its provider works in."""

    stack: str
    kind: str
    name: str
    region: str
    body: Mapping[str, Any]
    is_data: bool = False

    @property
    def local_address(self) -> str:
        """`type.name`, as other resources of the stack refer to it."""
        return f"{'data.' if self.is_data else ''}{self.kind}.{self.name}"

    @property
    def address(self) -> str:
        """The address with its stack, as findings show it."""
        return f"{self.stack}/{self.local_address}"

    def expression(self, attribute: str) -> str:
        """Return the expression by which other resources of the stack refer to an attribute of this one."""
        return f"${{{self.local_address}.{attribute}}}"

    def get(self, *path: str) -> Any:
        """Return the value at a path, None if it is missing. A path enters the first of repeated blocks."""
        value: Any = self.body
        for step in path:
            if isinstance(value, list):
                value = value[0] if value else None
            if not isinstance(value, Mapping):
                return None
            value = value.get(step)
        return value

    def blocks(self, *path: str) -> list[Mapping[str, Any]]:
        """Return a block, written once or as a list, as a list."""
        value = self.get(*path)
        if value is None:
            return []
        return value if isinstance(value, list) else [value]

    def statements(self, attribute: str = "policy") -> list[Mapping[str, Any]]:
        """Return the statements of a policy document, an empty list if the attribute is missing."""
        text = self.get(attribute)
        return json.loads(text)["Statement"] if isinstance(text, str) else []


class Platform:
    """All stacks of one synthesis."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any]], settings: Settings) -> None:
        self.documents = documents
        self.settings = settings
        self.names = settings.names

    @cached_property
    def everything(self) -> list[Resource]:
        """Every resource and data source."""
        return [
            Resource(
                stack=stack,
                kind=kind,
                name=name,
                region=self._region(document, body),
                body=body,
                is_data=section == "data",
            )
            for stack, document in self.documents.items()
            for section in ("resource", "data")
            for kind, named in document.get(section, {}).items()
            for name, body in named.items()
        ]

    def resources(self, *kinds: str, region: str | None = None) -> Iterator[Resource]:
        """Return resources (not data sources) of these types, or of all types."""
        for resource in self.everything:
            if resource.is_data or (kinds and resource.kind not in kinds):
                continue
            if region is None or resource.region == region:
                yield resource

    def referred(self, stack: str, expression: object) -> Resource | None:
        """Return the resource that an expression such as `${type.name.attribute}` begins with."""
        match = _REFERENCE.match(expression) if isinstance(expression, str) else None
        if match is None:
            return None
        of_stack = (resource for resource in self.everything if resource.stack == stack)
        return next((resource for resource in of_stack if resource.local_address == match[1]), None)

    def is_key_of(self, region: str, stack: str, expression: object) -> bool:
        """Return whether an expression refers to a key of this region."""
        key = self.referred(stack, expression)
        return key is not None and key.region == region

    def attached(self, parent: Resource, kind: str, attribute: str = "bucket") -> Iterator[Resource]:
        """Return the resources of a type whose attribute refers to this parent, in its stack."""
        for resource in self.resources(kind):
            if resource.stack == parent.stack and self.referred(resource.stack, resource.get(attribute)) == parent:
                yield resource

    def attached_statements(
        self, parent: Resource, kind: str, attribute: str = "bucket"
    ) -> Iterator[Mapping[str, Any]]:
        """Return the statements of the policies that are attached to this parent."""
        for policy in self.attached(parent, kind, attribute):
            yield from policy.statements()

    def functions(self, name: str, region: str | None = None) -> list[Resource]:
        """Return the instances of a function, one for each region."""
        functions = self.resources("aws_lambda_function", region=region)
        return [function for function in functions if function.get("function_name") == self.names.of(name)]

    def role_statements(self, name: str, region: str) -> Iterator[Mapping[str, Any]]:
        """Return the statements of the policy that has a role's name."""
        for policy in self.resources("aws_iam_policy", region=region):
            if policy.get("name") == self.names.of(name, region):
                yield from policy.statements()

    def role_arn(self, name: str, region: str) -> str:
        """Return the ARN of a role of a region."""
        return f"arn:aws:iam::{ACCOUNT}:role/{self.names.of(name, region)}"

    def topic_arn(self, region: str) -> str:
        """Return the ARN of the operations topic of a region."""
        return f"arn:aws:sns:{region}:{ACCOUNT}:{self.names.of('operations')}"

    def bucket_arn(self, region: str) -> str:
        """Return the ARN of the document bucket of a region."""
        return f"arn:aws:s3:::{self.names.documents_bucket(ACCOUNT, region)}"

    def table_arns(self, region: str) -> tuple[str, str]:
        """Return the ARNs of the replicas of the records and the audit table."""
        prefix = f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/"
        return f"{prefix}{self.names.records_table}", f"{prefix}{self.names.audit_table}"

    def once_in_each_region(self, what: str, resources: Iterable[Resource]) -> "Problems":
        """Return a problem unless there is one resource in each region."""
        regions = sorted(resource.region for resource in resources)
        if regions != sorted(self.settings.regions):
            yield what, f"must exist once in each region; it exists in {', '.join(regions) or 'none'}"

    def other(self, region: str) -> str:
        """Return the other region."""
        primary, secondary = self.settings.regions
        return secondary if region == primary else primary

    @staticmethod
    def _region(document: Mapping[str, Any], body: Mapping[str, Any]) -> str:
        alias = str(body.get("provider", "aws")).partition(".")[2] or None
        for provider in document.get("provider", {}).get("aws", []):
            if provider.get("alias") == alias:
                return str(provider["region"])
        return "unknown"


def listed(value: object) -> list[Any]:
    """Return an element of a policy, one value or a list, as a list."""
    return list(value) if isinstance(value, list) else [value]


def principals(statement: Mapping[str, Any], kind: str) -> list[str]:
    """Return the principals of a statement under `AWS` or `Service`; `*` is a principal of both."""
    principal = statement.get("Principal", {})
    return [principal] if isinstance(principal, str) else listed(principal.get(kind, []))


def allows(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    """Return whether a statement allows exactly this action on exactly this resource."""
    return (
        statement["Effect"] == "Allow"
        and action in listed(statement["Action"])
        and resource in listed(statement["Resource"])
    )


Problems = Iterator[tuple[str, str]]
"""Pairs of a place and a problem."""
Examine = Callable[[Platform], Problems]


@dataclass(frozen=True)
class Rule:
    """A requirement of recovery or compliance on the JSON."""

    name: str
    guards: tuple[str, ...]
    why: str
    examine: Examine


@dataclass(frozen=True)
class Finding:
    """A rule broken in one place."""

    rule: Rule
    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem} [{self.rule.name}; {', '.join(self.rule.guards)}] {self.rule.why}"


RULES: dict[str, Rule] = {}


def register(name: str, guards: tuple[str, ...], why: str, examine: Examine) -> None:
    """Register a rule under the requirements (`R1.4`) and traps (`trap 4`) that it guards."""
    RULES[name] = Rule(name=name, guards=guards, why=" ".join(why.split()), examine=examine)


def rule(*guards: str) -> Callable[[Examine], Examine]:
    """Register a function as a rule. Its name is the rule's name, its docstring the reason that findings show."""

    def decorate(examine: Examine) -> Examine:
        register(examine.__name__.replace("_", "-"), guards, examine.__doc__ or "", examine)
        return examine

    return decorate

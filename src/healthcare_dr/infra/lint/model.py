"""The model of lint rules: a rule, its findings, and the synthesized JSON as resources by region."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from healthcare_dr.settings import Settings

# How the stacks name their account, which is known only when a plan is made.
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
        """The address with its stack, for people."""
        return f"{self.stack}/{self.local_address}"

    def expression(self, attribute: str) -> str:
        """Return the expression by which other resources of the stack refer to an attribute of this one."""
        return f"${{{self.local_address}.{attribute}}}"

    def get(self, *path: str) -> Any:
        """The value at a path of blocks and attributes; None where it is missing. Of a repeated block, the first."""
        value: Any = self.body
        for step in path:
            if isinstance(value, list):
                value = value[0] if value else None
            if not isinstance(value, Mapping):
                return None
            value = value.get(step)
        return value

    def blocks(self, *path: str) -> list[Mapping[str, Any]]:
        """A block that may be written once or as a list."""
        value = self.get(*path)
        if value is None:
            return []
        return value if isinstance(value, list) else [value]

    def statements(self, attribute: str) -> list[Mapping[str, Any]]:
        """The statements of a policy document; none where the attribute is missing."""
        text = self.get(attribute)
        return json.loads(text)["Statement"] if isinstance(text, str) else []


class Platform:
    """All stacks of one synthesis."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any]], settings: Settings) -> None:
        self.documents = documents
        self.settings = settings

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
        """Resources (not data sources) of these types, all when none is named."""
        for resource in self.everything:
            if resource.is_data or (kinds and resource.kind not in kinds):
                continue
            if region is None or resource.region == region:
                yield resource

    def referred(self, stack: str, expression: object) -> Resource | None:
        """The resource that an expression such as `${type.name.attribute}` begins with."""
        match = _REFERENCE.match(expression) if isinstance(expression, str) else None
        if match is None:
            return None
        return next(
            (
                resource
                for resource in self.everything
                if resource.stack == stack and resource.local_address == match[1]
            ),
            None,
        )

    def of_parent(self, child: Resource, attribute: str, kind: str) -> Iterator[Resource]:
        """Resources of `kind` whose `bucket`-like attribute refers to the same thing as the child's."""
        for resource in self.resources(kind):
            if resource.stack == child.stack and self.referred(resource.stack, resource.get(attribute)) == child:
                yield resource

    def other(self, region: str) -> str:
        """The region that is not this one."""
        primary, secondary = self.settings.regions
        return secondary if region == primary else primary

    @staticmethod
    def _region(document: Mapping[str, Any], body: Mapping[str, Any]) -> str:
        wanted = str(body.get("provider", "aws")).partition(".")[2] or None
        for provider in document.get("provider", {}).get("aws", []):
            if provider.get("alias") == wanted:
                return str(provider["region"])
        return "unknown"


def listed(value: object) -> list[Any]:
    """A policy's element that may be one value or a list of them."""
    return list(value) if isinstance(value, list) else [value]


def principals(statement: Mapping[str, Any], kind: str) -> list[str]:
    """Whom a policy's statement names under `AWS` or `Service`; `*` stands for everyone under either."""
    principal = statement.get("Principal", {})
    return [principal] if isinstance(principal, str) else listed(principal.get(kind, []))


def allows(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    """Return whether a statement allows exactly this action on exactly this resource."""
    return (
        statement["Effect"] == "Allow"
        and action in listed(statement["Action"])
        and resource in listed(statement["Resource"])
    )


Examine = Callable[[Platform], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Rule:
    """One thing that recovery or compliance needs. `examine` yields pairs of (where, problem)."""

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


def rule(name: str, *guards: str, why: str) -> Callable[[Examine], Examine]:
    """Register a rule under the requirements (`R1.4`) and traps (`trap 4`) it guards."""

    def register(examine: Examine) -> Examine:
        RULES[name] = Rule(name=name, guards=guards, why=why, examine=examine)
        return examine

    return register

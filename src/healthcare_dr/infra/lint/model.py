"""A rule and what it finds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from healthcare_dr.infra.lint.view import Platform

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

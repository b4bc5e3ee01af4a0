"""Ways to damage the synthesized JSON. A mutation is a rule and a damage that it must find."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from healthcare_dr.infra.lint import RULES
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.naming import PRIMARY, SECONDARY
from healthcare_dr.settings import Settings

Documents = dict[str, dict[str, Any]]

REGIONAL = ((PRIMARY, "primary"), (SECONDARY, "secondary"))
"""The regional stacks with the roles of their regions."""


@dataclass(frozen=True)
class Damage:
    """One change of the JSON of all stacks."""

    description: str
    apply: Callable[[Documents], object]

    def __str__(self) -> str:
        return self.description


Mutations = Iterator[tuple[str, Damage]]


def parameters(mutations: Iterable[tuple[str, Damage]]) -> list[Any]:
    """Return the mutations as parameters of a test, marked with what their rules guard."""
    found = []
    for rule, damage in mutations:
        guards = RULES[rule].guards
        requirements = [guard for guard in guards if not guard.startswith("trap ")]
        traps = [int(guard.removeprefix("trap ")) for guard in guards if guard.startswith("trap ")]
        marks = [pytest.mark.requirement(*requirements), pytest.mark.trap(*traps)]
        found.append(pytest.param(rule, damage, id=f"{rule}: {damage}", marks=marks))
    return found


def finds(rule: str, damaged: Documents, settings: Settings) -> bool:
    """Return whether the rule has a finding. Running all rules would take thirty times as long."""
    return bool(list(RULES[rule].examine(Platform(damaged, settings))))


class Editable(ABC):
    """An object in the JSON.

    A path is separated by dots. In a list it continues with an index, or in the first element.
    """

    @abstractmethod
    def edit(self, description: str, change: Callable[[Any], object]) -> Damage:
        """Return the damage of a function that changes the object in place."""

    def put(self, path: str, value: Any) -> Damage:
        """Set the value at a path."""
        return self._at(path, f"= {str(value)[:60]}", lambda node, key: node.__setitem__(key, value))

    def drop(self, path: str) -> Damage:
        """Delete what is at a path."""
        return self._at(path, "dropped", lambda node, key: node.__delitem__(key))

    def append(self, path: str, value: Any) -> Damage:
        """Append to the list at a path."""
        return self._at(path, f"+ {value}", lambda node, key: node[key].append(value))

    def replace(self, path: str, old: str, new: str) -> Damage:
        """Replace a part of the string at a path."""
        return self._at(path, f"{old} -> {new}", lambda node, key: node.__setitem__(key, node[key].replace(old, new)))

    def _at(self, path: str, description: str, change: Callable[[Any, Any], object]) -> Damage:
        return self.edit(f"{path} {description}", lambda body: change(*_locate(body, path)))


@dataclass(frozen=True)
class Part(Editable):
    """A stack, or a part of it such as a resource."""

    path: str

    def edit(self, description: str, change: Callable[[Any], object]) -> Damage:
        def apply(documents: Documents) -> None:
            node, key = _locate(documents, self.path)
            change(node[key])

        return Damage(f"{self.path.replace('.resource', '')} {description}", apply)

    def remove(self) -> Damage:
        """Delete the part."""

        def apply(documents: Documents) -> None:
            node, key = _locate(documents, self.path)
            del node[key]

        return Damage(f"{self.path.replace('.resource', '')} removed", apply)

    def statement(self, sid: str, attribute: str = "policy") -> "Statement":
        """Return one statement of a policy document of this resource."""
        return Statement(self, attribute, sid)


@dataclass(frozen=True)
class Statement(Editable):
    """One statement of a policy document, which is a string in the JSON."""

    resource: Part
    attribute: str
    sid: str

    def edit(self, description: str, change: Callable[[Any], object]) -> Damage:
        return self._statements(description, lambda found, number: change(found[number]))

    def remove(self) -> Damage:
        """Delete the statement from its policy document."""
        return self._statements("removed", lambda found, number: found.pop(number))

    def _statements(self, description: str, change: Callable[[list[Any], int], object]) -> Damage:
        def apply(body: dict[str, Any]) -> None:
            document = json.loads(body[self.attribute])
            found = document["Statement"]
            change(found, next(number for number, each in enumerate(found) if each["Sid"] == self.sid))
            body[self.attribute] = json.dumps(document)

        return self.resource.edit(f"{self.sid} {description}", apply)


def resource(stack: str, address: str) -> Part:
    """Return the resource of a stack by its Terraform address."""
    return Part(f"{stack}.resource.{address}")


def remove_all(stack: str, kind: str) -> Damage:
    """Delete all resources of a type."""
    return resource(stack, kind).edit("all removed", lambda named: named.clear())


def remove_one(stack: str, kind: str) -> Damage:
    """Delete one resource of a type."""
    return resource(stack, kind).edit("one removed", lambda named: named.popitem())


def add(stack: str, address: str, body: dict[str, Any]) -> Damage:
    """Add a resource."""
    kind, _, name = address.partition(".")
    return Part(f"{stack}.resource").edit(
        f"{address} added: {str(body)[:60]}", lambda kinds: kinds.setdefault(kind, {}).update({name: body})
    )


def combined(*damages: Damage) -> Damage:
    """Apply several damages at once."""
    return Damage(" and ".join(damage.description for damage in damages), lambda d: [each.apply(d) for each in damages])


def _locate(body: Any, path: str) -> tuple[Any, Any]:
    """Return the container and the key of what is at a path."""
    *steps, last = path.split(".")
    for step in steps:
        node, key = _enter(body, step)
        body = node[key]
    return _enter(body, last)


def _enter(node: Any, step: str) -> tuple[Any, Any]:
    if not isinstance(node, list):
        return node, step
    return (node, int(step)) if step.lstrip("-").isdecimal() else (node[0], step)

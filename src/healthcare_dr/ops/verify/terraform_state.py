"""The deployed resources with their attributes by region, from Terraform's state."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from healthcare_dr.naming import GLOBAL, PRIMARY, STACKS


@dataclass(frozen=True)
class Resource:
    """One managed resource; `name` is the one it has in its stack."""

    region: str
    kind: str
    name: str
    attributes: Mapping[str, Any]

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes.get(attribute)


@dataclass(frozen=True)
class TerraformState:
    """The states of the three stacks, in Terraform's format 4."""

    states: Mapping[str, bytes]
    regions: tuple[str, str]

    def of(self, kind: str, region: str | None = None) -> list[Resource]:
        """The resources of a kind, in one region or in both."""
        return [found for found in self._resources if found.kind == kind and region in (None, found.region)]

    @property
    def all(self) -> tuple[Resource, ...]:
        """Every resource."""
        return self._resources

    def output(self, region: str, name: str) -> str:
        """An output of a region's stack; empty without one."""
        return str(self.outputs(STACKS[self.regions.index(region)]).get(name, ""))

    def outputs(self, stack: str = GLOBAL) -> dict[str, Any]:
        """The outputs of a stack."""
        found = self._documents[stack].get("outputs") or {}
        return {name: output.get("value") for name, output in found.items()}

    @cached_property
    def account(self) -> str:
        """The account's twelve digits, from the ARN of the primary region's key."""
        arn = str(self.outputs(PRIMARY).get("key_arn", ""))
        return arn.split(":")[4] if arn.count(":") >= 5 else ""

    @cached_property
    def _documents(self) -> dict[str, Any]:
        return {stack: json.loads(self.states[stack]) for stack in STACKS}

    @cached_property
    def _resources(self) -> tuple[Resource, ...]:
        return tuple(resource for stack in STACKS for resource in self._read(stack))

    def _read(self, stack: str) -> Iterator[Resource]:
        primary, secondary = self.regions
        own = secondary if stack == STACKS[1] else primary
        for resource in self._documents[stack].get("resources") or ():
            if resource.get("mode") != "managed":
                continue
            # `provider["registry.terraform.io/hashicorp/aws"].secondary`: the global stack's other region.
            region = secondary if str(resource.get("provider")).endswith(".secondary") else own
            for instance in resource.get("instances") or ():
                yield Resource(region, resource["type"], resource["name"], instance.get("attributes") or {})

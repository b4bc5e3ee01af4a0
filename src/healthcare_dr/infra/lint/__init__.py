"""What recovery needs of the synthesized JSON, as rules that explain themselves.

Each rule guards requirements or traps; its name appears in the finding together with why it matters and what mends it.
`hdr synth` runs them all, and the mutation test damages the JSON once for each to see it found.
"""

from collections.abc import Mapping
from typing import Any

# Imported for their rules, which register themselves.
from healthcare_dr.infra.lint import (  # noqa: F401
    rules_alarms,
    rules_api,
    rules_buckets,
    rules_dns,
    rules_faults,
    rules_functions,
    rules_keys,
    rules_network,
    rules_platform,
    rules_roles,
    rules_tables,
)
from healthcare_dr.infra.lint.model import RULES, Finding, Platform, Rule
from healthcare_dr.settings import Settings

__all__ = ["RULES", "Finding", "Rule", "check"]


def check(documents: Mapping[str, Mapping[str, Any]], settings: Settings) -> list[Finding]:
    """Check the Terraform JSON of all three stacks, by stack name, against every rule."""
    platform = Platform(documents, settings)
    return [
        Finding(rule=rule, where=where, problem=problem)
        for rule in RULES.values()
        for where, problem in rule.examine(platform)
    ]

"""Check the synthesized JSON by rules that protect recovery.

Each rule protects requirements or traps. A finding contains the rule's name, the reason and the fix. `hdr synth` runs
all rules, and a mutation test damages the JSON once for each rule to see it found.

The rules contain the values that they require as literals of their own on purpose: a rule that imported a value from
the stacks would accept any value. Only names are imported. Rules import nothing that imports `cdktn`, which starts
Node.
"""

from collections.abc import Mapping
from typing import Any

# Imported for their rules, which register themselves.
from healthcare_dr.infra.lint import (  # noqa: F401
    provider_schema,
    rules_alarms,
    rules_api,
    rules_buckets,
    rules_dns,
    rules_faults,
    rules_functions,
    rules_keys,
    rules_network,
    rules_notifications,
    rules_pipeline,
    rules_platform,
    rules_roles,
    rules_tables,
    service_models,
)
from healthcare_dr.infra.lint.model import RULES, Finding, Platform, Rule
from healthcare_dr.settings import Settings

__all__ = ["RULES", "Finding", "Rule", "check"]


def check(documents: Mapping[str, Mapping[str, Any]], settings: Settings) -> list[Finding]:
    """Check the Terraform JSON of all stacks, by stack name, against every rule."""
    platform = Platform(documents, settings)
    return [
        Finding(rule=rule, where=where, problem=problem)
        for rule in RULES.values()
        for where, problem in rule.examine(platform)
    ]

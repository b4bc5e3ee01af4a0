"""All checks, in the order of their report."""

from typing import Final

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.verify import (
    account,
    alerting,
    buckets,
    capacity,
    functions,
    keys,
    replication,
    roles,
    tables,
    traffic,
)
from healthcare_dr.ops.verify.check import Check

TOPICS: Final = (traffic, tables, buckets, replication, keys, functions, capacity, roles, alerting, account)
CATALOG: Final[dict[str, Check]] = {check.name: check for topic in TOPICS for check in topic.CHECKS.declared}
SERVING: Final = tuple(check for check in CATALOG.values() if check.serves)
"""What is about a region's data and service, and not about its traffic."""


def chosen(names: list[str] | None) -> tuple[Check, ...]:
    """The checks of these names, or all. Raises SettingsError."""
    unknown = [name for name in names or () if name not in CATALOG]
    if unknown:
        raise SettingsError(f"there is no check {', '.join(unknown)}; there are {', '.join(CATALOG)}")
    return tuple(CATALOG[name] for name in dict.fromkeys(names)) if names else tuple(CATALOG.values())

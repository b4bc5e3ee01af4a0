"""All checks, in the order of the report: by module, which is one topic, then as defined in the module."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.verify.check import CHECKS, Check

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

CATALOG: Final[dict[str, Check]] = dict(sorted(CHECKS.items(), key=lambda entry: entry[1].examine.__module__))
RESTORE_CHECKS: Final = tuple(check for check in CATALOG.values() if check.gates_restore)
"""The checks of a region's data and service; checks of its traffic are not among them."""


def select_checks(names: list[str] | None) -> tuple[Check, ...]:
    """Return the checks with these names, or all checks. Raises SettingsError."""
    unknown = [name for name in names or () if name not in CATALOG]
    if unknown:
        raise SettingsError(f"there is no check {', '.join(unknown)}; there are {', '.join(CATALOG)}")
    return tuple(CATALOG[name] for name in dict.fromkeys(names)) if names else tuple(CATALOG.values())

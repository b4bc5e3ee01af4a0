"""Faults that a drill injects. Importing the package imports its modules, which register their faults."""

from importlib import import_module
from pkgutil import iter_modules

from healthcare_dr.ops.drill.faults.fault import FAULTS, Fault, InjectedFault

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["FAULTS", "Fault", "InjectedFault"]

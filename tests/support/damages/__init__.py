"""Damages to the deployed platform. Importing the package imports its modules, which register their damages."""

from support.damages import alerting, data, service, traffic
from support.damages.registry import DAMAGES, EAST, WEST, Damage

__all__ = ["DAMAGES", "EAST", "WEST", "Damage", "alerting", "data", "service", "traffic"]

"""Every way to damage the deployed platform; importing this package registers all of them."""

from support.damages import alerting, data, keys, service, traffic
from support.damages.registry import DAMAGES, EAST, WEST, Damage

__all__ = ["DAMAGES", "EAST", "WEST", "Damage", "alerting", "data", "keys", "service", "traffic"]

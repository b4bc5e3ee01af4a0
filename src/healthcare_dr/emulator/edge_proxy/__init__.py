"""The front doors: each stands for port 443 of one region, on a loopback address of its own.

A door ends TLS, forwards requests to the HTTP APIs of its region alone, and plays the faults of a drill: connections
refused or never answered, answers that are errors or late.
"""

from healthcare_dr.emulator.edge_proxy.listener import EdgeListener

__all__ = ["EdgeListener"]

"""The front doors: each stands for port 443 of one region, on a loopback address of its own.

What goes in is relayed byte by byte, so that a door can refuse or swallow connections, to a server that ends TLS and
forwards to the HTTP APIs of its region alone.
"""

from healthcare_dr.emulator.doors.server import Doors

__all__ = ["Doors"]

"""The edge proxy: one listener per region, which serves as port 443 of the region on a loopback address of its own.

A listener terminates TLS, forwards requests to the HTTP APIs of its region, and applies the faults of a drill:
connections that are refused or never answered, and responses that are errors or delayed.
"""

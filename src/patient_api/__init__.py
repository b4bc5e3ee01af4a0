"""The patient API: the only code that runs in Lambda.

Layers, each knowing only those to its right: `handler` (starts once per container) → `wiring` → `api` (HTTP in, HTTP
out) → `patients`, `health`, `drain` (logic, pure behind ports) → `records`, `trail`, `probes` (AWS).
"""

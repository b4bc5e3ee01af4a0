"""The patient API: the only code that runs in Lambda.

Layers, each knowing only those to its right: `handler` (wires once per container) → `api` (HTTP in, HTTP out)
→ `patients`, `health`, `drain` (logic, pure behind ports) → `records`, `trail`, `probes` (AWS).
"""

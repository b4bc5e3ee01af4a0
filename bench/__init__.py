"""Benchmarks. Each compares two sides within one run and reports their ratio. `make bench` runs all groups."""

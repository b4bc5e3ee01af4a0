"""Faults that a drill injects, on each target."""

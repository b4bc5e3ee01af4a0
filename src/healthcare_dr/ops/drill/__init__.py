"""Drills: break a region on purpose, watch as clients do, and measure what recovery took.

The words are those of chaos engineering: an *experiment* has a *steady-state hypothesis*, a *method* that injects
faults, and *rollbacks*; what happened is its *journal*.
"""

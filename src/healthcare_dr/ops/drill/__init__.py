"""Drills: break a region on purpose, send requests as clients do, and measure the recovery.

The terms are those of chaos engineering: an *experiment* has a *steady-state hypothesis*, a *method* that injects
faults, and *rollbacks*. Its *journal* records what happened.
"""

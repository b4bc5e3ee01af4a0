"""Draining a region by hand: a flag in the surviving region's tables, and nothing else."""

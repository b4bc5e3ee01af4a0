"""Drain a region by a flag in the surviving region's tables, and restore it."""

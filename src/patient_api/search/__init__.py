"""Searches without a scan: parameters, candidates, pages."""

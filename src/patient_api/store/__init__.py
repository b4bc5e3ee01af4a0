"""Append-only versions of records, and what finds them."""

"""Audit events: the table that stores them, and their FHIR resource."""

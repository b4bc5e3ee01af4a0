"""Patients' records over FHIR: one version at a time, new ones, and their history."""

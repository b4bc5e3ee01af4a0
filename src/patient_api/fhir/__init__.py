"""FHIR R4 without AWS: exact JSON, the profile, dates, patches."""

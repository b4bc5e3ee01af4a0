"""FHIR R4 without AWS: lossless JSON, the profile, dates and patches."""

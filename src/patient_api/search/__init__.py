"""Search patients, documents and audit events without a scan."""

"""Operations: deploy, report, verify, drain, drill and destroy.

The embedded AWS and the synthesis are injected through `healthcare_dr.ops.ports`; only `healthcare_dr.ops.bootstrap`
imports them.
"""

"""Operations: deploy, report, verify, drain, drill and destroy.

`healthcare_dr.ops.bootstrap` creates the embedded AWS and starts the synthesis; other modules receive them.
"""

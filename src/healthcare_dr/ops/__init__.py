"""Operations: deploy, report, verify, drain, drill and destroy.

Only `healthcare_dr.ops.bootstrap` imports the emulator and the synthesis; other modules receive them.
"""

"""What an operator does: find Terraform, deploy to a target, report, destroy.

The embedded AWS and the synthesis come in as ports (`healthcare_dr.ops.ports`); only
`healthcare_dr.ops.bootstrap` knows the real ones.
"""

"""Check whether recovery would work now, by read-only requests to the live target.

The expected values come from the settings, the names and the deployment (Terraform's state), and each region is
compared with the other. A check without an answer is a finding too: unknown is not ready.
"""

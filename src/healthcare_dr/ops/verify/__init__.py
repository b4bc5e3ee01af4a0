"""Whether recovery would work now: questions to the live target, every one of them read-only.

What is right comes from the settings, from the names and from what was deployed (Terraform's state), and one region
is compared with the other. A question without an answer is a finding too: what is unknown is never ready.
"""

"""Describes the platform on AWS and writes it as Terraform JSON.

Importing this package starts nothing; `synth` starts Node for as long as the process lives.
"""

from healthcare_dr.infra.synthesis import Synthesis, synth
from healthcare_dr.naming import STACKS

__all__ = ["STACKS", "Synthesis", "synth"]

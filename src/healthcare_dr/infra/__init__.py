"""The infrastructure of the platform as Terraform JSON.

Importing this package does not start Node. `synth` starts it, and it runs until the process ends.
"""

from healthcare_dr.infra.synthesis import Synthesis, synth
from healthcare_dr.naming import STACKS

__all__ = ["STACKS", "Synthesis", "synth"]

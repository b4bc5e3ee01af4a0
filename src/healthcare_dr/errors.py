"""The exceptions an operator can meet.

    HealthcareDrError
    ├── SettingsError      a setting is missing or wrong
    ├── SynthesisError     the description of the infrastructure is wrong
    ├── EmulatorError      the embedded AWS cannot start, run or stop
    ├── ToolError          Terraform, Node or a download is missing or wrong
    └── DeploymentError    a plan, deployment or destruction did not finish

Each carries one line that says what is wrong and how to mend it; the command line prints that line and exits
with `exit_code`. Anything else that escapes is a defect of ours.
"""


class HealthcareDrError(Exception):
    """Base of every error whose text is meant for the operator."""

    exit_code = 1


class SettingsError(HealthcareDrError):
    """A setting is missing or wrong."""

    exit_code = 2


class SynthesisError(HealthcareDrError):
    """The description of the infrastructure breaks a rule or cannot be synthesized."""


class EmulatorError(HealthcareDrError):
    """The embedded AWS cannot start, run or stop."""


class ToolError(HealthcareDrError):
    """Terraform, Node or a download is missing or not what it claims to be."""


class DeploymentError(HealthcareDrError):
    """A plan, deployment or destruction did not finish."""

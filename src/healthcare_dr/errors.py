"""The exceptions whose messages are for operators.

    HealthcareDrError
    ├── SettingsError      a setting is missing or invalid
    ├── SynthesisError     the description of the infrastructure is invalid
    ├── EmulatorError      the embedded AWS cannot start, run or stop
    ├── ToolError          Terraform, Node or a download is missing or invalid
    └── DeploymentError    a plan, deployment or destruction did not complete

Each message is one line that states what is wrong and how to fix it. The command line prints it and exits with
`exit_code`. Every other exception that escapes is a defect.
"""


class HealthcareDrError(Exception):
    """Base of every error whose message is for operators."""

    exit_code = 1


class SettingsError(HealthcareDrError):
    """A setting is missing or invalid."""

    exit_code = 2


class SynthesisError(HealthcareDrError):
    """The description of the infrastructure breaks a rule or cannot be synthesized."""


class EmulatorError(HealthcareDrError):
    """The embedded AWS cannot start, run or stop."""


class ToolError(HealthcareDrError):
    """Terraform, Node or a download is missing or invalid."""


class DeploymentError(HealthcareDrError):
    """A plan, deployment or destruction did not complete."""

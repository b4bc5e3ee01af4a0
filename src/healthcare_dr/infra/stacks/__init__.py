"""The three stacks."""

from healthcare_dr.infra.stacks.globals import GlobalStack
from healthcare_dr.infra.stacks.regional import RegionalStack

__all__ = ["GlobalStack", "RegionalStack"]

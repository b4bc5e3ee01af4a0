"""A multi-region disaster recovery platform for healthcare SaaS that proves itself."""

__version__ = "0.1.0"

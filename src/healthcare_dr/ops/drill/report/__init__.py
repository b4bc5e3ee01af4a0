"""The report of a drill: one page that explains itself, needs no network, and runs no script."""

from healthcare_dr.ops.drill.report.page import write_report

__all__ = ["write_report"]

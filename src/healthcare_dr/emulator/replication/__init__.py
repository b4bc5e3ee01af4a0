"""Replication between the regions as AWS does it: later, item by item, and able to stand still.

ministack copies inside of the write itself, so that code which counts on an instant or an atomic copy would pass
here and fail on AWS.
"""

from healthcare_dr.emulator.replication.settings import Replication

__all__ = ["Replication"]

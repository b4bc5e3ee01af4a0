"""Replicate between the regions as AWS does: with a lag, item by item; it can be paused.

ministack replicates within the write itself, so that code which depends on an immediate or atomic copy would pass here
and fail on AWS.
"""

from healthcare_dr.emulator.replication.settings import Replication

__all__ = ["Replication"]

"""The embedded AWS: ministack behind a launcher and fixes of ours, and a token issuer.

It runs in one mode only, for users and tests alike: on loopback, over TLS, with IAM enforced, and it keeps
its state.
"""

from healthcare_dr.emulator.handle import Emulator
from healthcare_dr.emulator.replication import Replication

__all__ = ["Emulator", "Replication"]

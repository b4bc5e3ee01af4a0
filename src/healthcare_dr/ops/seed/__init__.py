"""`hdr seed`: fictitious patients and documents, loaded through the API of both regions."""

from healthcare_dr.ops.seed.access import embedded_token, given_token, print_seeded, regions_of
from healthcare_dr.ops.seed.load import Plan, Region, Seeding, SeedResult

__all__ = ["Plan", "Region", "SeedResult", "Seeding", "embedded_token", "given_token", "print_seeded", "regions_of"]

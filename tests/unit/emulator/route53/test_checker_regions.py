"""How many checker regions probe at a time scale."""

import pytest

from healthcare_dr.emulator.route53.model import CHECKER_REGIONS, checker_regions


@pytest.mark.parametrize(("scale", "count"), [(1.0, 8), (1.5, 6), (2.0, 4), (2.5, 4), (2.7, 3), (10.0, 3), (20.0, 3)])
def test_fewer_regions_probe_when_sped_up_and_never_fewer_than_route_53_allows(scale: float, count: int) -> None:
    assert checker_regions(scale) == CHECKER_REGIONS[:count]

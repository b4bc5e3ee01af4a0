"""docs/api.md equals the responses of the API."""

import api_examples
import api_page

from support.platform import REGIONS, Deployed


def test_every_example_of_the_page_is_still_answered_like_that(deployed: Deployed) -> None:
    east, west = map(deployed.api_id, REGIONS)
    platform = api_examples.of_emulator(deployed.emulator, api_ids=(east, west), audience="healthcare-dr")
    examples = api_page.examples_in(api_examples.TEMPLATE.read_text(encoding="utf-8"))
    performed = list(api_examples.perform(examples, platform))
    deployed.settle()
    assert api_page.differences(api_examples.PAGE.read_text(encoding="utf-8"), performed) == []

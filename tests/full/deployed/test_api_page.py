"""docs/api.md equals the responses of the API."""

import api_examples

from support.platform import REGIONS, Deployed


def test_responses_equal_those_of_the_page(deployed: Deployed) -> None:
    east, west = map(deployed.api_id, REGIONS)
    platform = api_examples.of_emulator(deployed.emulator, api_ids=(east, west), audience="healthcare-dr")
    examples = api_examples.examples_in(api_examples.TEMPLATE.read_text(encoding="utf-8"))
    performed = list(api_examples.perform(examples, platform))
    deployed.settle()
    assert api_examples.differences(api_examples.PAGE.read_text(encoding="utf-8"), performed) == []

"""What the states say was deployed, and where."""

from unit.ops.verify.fakes import ACCOUNT, EAST, WEST, deployed, resource


def test_each_resource_is_in_the_region_of_its_provider() -> None:
    held = deployed(
        primary=[resource("aws_sns_topic", "a")],
        secondary=[resource("aws_sns_topic", "b")],
        common=[resource("aws_sns_topic", "c"), resource("aws_sns_topic", "d", alias="secondary")],
    )
    assert [found.name for found in held.of("aws_sns_topic", EAST)] == ["a", "c"]
    assert [found.name for found in held.of("aws_sns_topic", WEST)] == ["b", "d"]
    assert len(held.of("aws_sns_topic")) == 4
    assert held.of("aws_kms_key") == []


def test_data_sources_are_not_deployed_resources() -> None:
    held = deployed(primary=[resource("aws_kms_alias", "a") | {"mode": "data"}])
    assert held.all == ()


def test_outputs_tell_the_account() -> None:
    assert deployed().account == ACCOUNT
    assert deployed().output(WEST, "api_id") == f"api-{WEST}"
    assert deployed().output(WEST, "nothing") == ""
    assert deployed().outputs()["zone_id"] == "Z1"

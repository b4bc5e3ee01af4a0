"""Who may load what where: tokens and regions of `hdr seed`, and what it reports."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.ops.seed import Region, SeedResult, embedded_token, given_token, print_seeded, regions_of
from healthcare_dr.ops.status import Drain, Health, RegionStatus, Status
from healthcare_dr.settings import Settings
from unit.ops.fakes import FakeEmulator, LocalTarget

EAST, WEST = "us-east-1", "us-west-2"
SETTINGS = Settings(primary_weight=60, secondary_weight=40)


class WithoutIssuer(LocalTarget):
    """APIs that demand IAM signatures."""

    def issuer(self) -> str:
        return ""


def test_the_embedded_issuer_signs_for_a_day(tmp_path: Path) -> None:
    emulator = FakeEmulator(home=tmp_path)
    assert embedded_token(emulator, tenant=None, audience="a") == "a.signed.token"
    assert embedded_token(emulator, tenant="clinic-7", audience="a")
    assert [token["tenant"] for token in emulator.tokens] == ["demo-clinic", "clinic-7"]
    assert emulator.tokens[0]["scopes"] == ["system/Patient.cruds", "system/DocumentReference.cruds"]
    with pytest.raises(SettingsError, match="--tenant '' is not allowed"):
        embedded_token(emulator, tenant="", audience="a")


def test_a_token_for_aws_is_brought_along(tmp_path: Path) -> None:
    target = LocalTarget(root=tmp_path, name="aws")
    assert given_token(target, " a.b.c\n", tenant=None) == "a.b.c"
    for given, tenant, said in (
        ("", None, r"HDR_TOKEN is not set: put a token of https://127.0.0.1:2 with the scopes system/Patient.cruds"),
        ("two words", None, "HDR_TOKEN is not a token"),
        ("a\r\nX-Evil: b", None, "HDR_TOKEN is not a token"),
        ("a.b.c", "clinic", "--tenant is for the embedded AWS"),
    ):
        with pytest.raises(SettingsError, match=said) as error:
            given_token(target, given, tenant=tenant)
        assert "a.b.c" not in str(error.value)
    with pytest.raises(SettingsError, match="demand IAM signatures, which `hdr seed` does not make"):
        given_token(WithoutIssuer(root=tmp_path), "a.b.c", tenant=None)


def region(name: str, weight: int | None = None, health: Health = "healthy", drain: Drain = "serving") -> RegionStatus:
    endpoint = None if health == "not deployed" else f"https://{name}"
    return RegionStatus(name, "stack", 3, endpoint, health, drain, weight)


def status(*regions: RegionStatus) -> Status:
    return Status(
        target="embedded",
        suffix="dev",
        name="api",
        issuer="https://issuer",
        running=True,
        global_resources=1,
        weights_unread=None,
        regions=regions,
    )


def test_the_regions_that_serve_take_the_load_by_their_weights() -> None:
    assert regions_of(status(region(EAST, 70), region(WEST, 30)), SETTINGS) == (
        Region(EAST, f"https://{EAST}", 70),
        Region(WEST, f"https://{WEST}", 30),
    )
    assert [found.weight for found in regions_of(status(region(EAST), region(WEST)), SETTINGS)] == [60, 40]
    for other in (
        region(EAST, 70, "unhealthy"),
        region(EAST, 70, "healthy", "draining"),
        region(EAST, 70, "unreachable"),
    ):
        assert [found.name for found in regions_of(status(other, region(WEST, 30)), SETTINGS)] == [WEST]


def test_no_region_prints_one_line() -> None:
    nothing = status(region(EAST, health="not deployed"), region(WEST, health="unreachable"))
    with pytest.raises(
        DeploymentError, match=r"no region serves .us-east-1 is not deployed, us-west-2 is unreachable.:"
    ):
        regions_of(nothing, SETTINGS)


@pytest.mark.parametrize(("target", "labelled"), [("embedded", True), ("aws", False)])
def test_numbers_of_the_embedded_aws_say_so(target: str, labelled: bool) -> None:
    out = StringIO()
    seeded = SeedResult(
        patients=100,
        documents=200,
        document_bytes=123_456,
        seconds=10.0,
        patients_per_second=10.0,
        documents_per_second=20.0,
        retries=3,
        regions={EAST: 71, WEST: 29},
    )
    print_seeded(Console(file=out, width=40), seeded, target=target)
    assert out.getvalue().splitlines() == [
        "100 patients and 200 documents (123.5 kB) in 10.0 s",
        f"10.0 patients and 20.0 documents a second{' (embedded)' if labelled else ''}",
        "us-east-1 71, us-west-2 29; 3 calls repeated",
    ]

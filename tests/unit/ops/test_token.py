"""Access tokens of the embedded issuer, and those that operators give for AWS."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.token import given_token, issue
from unit.ops.fakes import FakeEmulator, LocalTarget

CLAIMS: dict[str, Any] = {
    "tenant": "clinic.1", "subject": "me", "audience": "a", "scopes": ["user/Patient.r"],
    "lifetime": timedelta(seconds=5),
}  # fmt: skip


def test_token_contains_the_requested_claims(tmp_path: Path) -> None:
    emulator = FakeEmulator(home=tmp_path)
    assert issue(emulator.handle, **CLAIMS) == "a.signed.token"
    assert emulator.tokens == [CLAIMS]


@pytest.mark.parametrize(
    "changed",
    [{"tenant": "a#b"}, {"tenant": "$platform"}, {"tenant": ""}, {"lifetime": timedelta(days=2)},
     {"lifetime": timedelta()}],
)  # fmt: skip
def test_invalid_claim_is_rejected(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="is not allowed"):
        issue(FakeEmulator(home=tmp_path).handle, **(CLAIMS | changed))


@pytest.mark.parametrize(
    ("given", "tenant", "issuer", "message"),
    [
        ("", None, "https://i", "HDR_TOKEN is not set: put a token of https://i with the scopes system/Patient.cruds"),
        ("two words", None, "https://i", "HDR_TOKEN is not a token"),
        ("a\r\nX-Evil: b", None, "https://i", "HDR_TOKEN is not a token"),
        ("a.b.c", "clinic", "https://i", "--tenant is for the embedded AWS"),
        ("a.b.c", None, "", "require IAM signatures, which `hdr seed` does not make"),
    ],
)
def test_invalid_token_for_aws_is_rejected(
    tmp_path: Path, given: str, tenant: str | None, issuer: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        given_token(LocalTarget(root=tmp_path, token_issuer=issuer), given, tenant=tenant)
    assert "a.b.c" not in str(error.value)


def test_whitespace_around_a_token_for_aws_is_removed(tmp_path: Path) -> None:
    assert given_token(LocalTarget(root=tmp_path), " a.b.c\n", tenant=None) == "a.b.c"

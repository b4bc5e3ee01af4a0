from typing import Any

import pytest

from patient_api.exchange.access import UNKNOWN, identify
from unit.patient_api.whole_api import claims


@pytest.mark.parametrize(
    ("scope", "letters"),
    [
        ("system/Patient.cru", "cru"),
        ("user/*.r", "r"),
        ("openid system/Patient.r system/Patient.c", "cr"),
        ("system/Patient.cruds", "cruds"),
        ("system/Observation.cruds", ""),
        ("patient/Patient.cruds", ""),
        ("system/Patient.read", ""),
        ("system/Patient.rs?_id=1", ""),
        ("system/Patient.", ""),
        ("xsystem/Patient.r", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_scopes(scope: Any, letters: str) -> None:
    caller = identify(claims(scope=scope))
    assert {letter for letter in "cruds" if caller.may(letter, "Patient")} == set(letters)


@pytest.mark.parametrize("tenant", [None, "", "a#b", "$platform", "a b", "x" * 65, "ä", "a\n"])
def test_a_tenant_out_of_form_has_no_rights(tenant: Any) -> None:
    caller = identify(claims(tenant=tenant))
    assert (caller.tenant, caller.may("r", "Patient"), caller.authenticated) == (UNKNOWN, False, True)


@pytest.mark.parametrize("subject", [None, ""])
def test_a_token_without_a_subject_has_no_rights(subject: Any) -> None:
    assert not identify(claims(sub=subject)).may("r", "Patient")


def test_an_iam_caller() -> None:
    caller = identify({"iam": {"accountId": "123456789012", "userArn": "arn:aws:iam::123456789012:user/a"}})
    assert (caller.tenant, caller.subject) == ("iam-123456789012", "arn:aws:iam::123456789012:user/a")
    assert all(caller.may(letter, "Patient") for letter in "cruds")
    assert caller.may("d", "DocumentReference")


def test_nobody() -> None:
    assert not identify({}).authenticated

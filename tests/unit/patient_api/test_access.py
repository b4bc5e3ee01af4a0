"""Callers, their rights, and audit events of refused requests."""

from typing import Any

import pytest

from patient_api.contract.routes import ROUTES, Route
from patient_api.http.caller import UNKNOWN, identify
from unit.patient_api.fakes.api import Platform, accessed, claims


@pytest.mark.parametrize(
    ("scope", "letters"),
    [
        ("system/Patient.cru", "cru"),
        ("user/*.r", "r"),
        ("openid system/Patient.r system/Patient.c", "cr"),
        ("system/Patient.cruds", "cruds"),
        ("system/Observation.cruds", ""),
        ("patient/Patient.cruds", ""),
        ("system/*.rs", "rs"),
        # Version 1 of SMART.
        ("system/Patient.read", "rs"),
        ("system/*.read", "rs"),
        ("user/Patient.write", "cud"),
        ("user/Patient.*", "cruds"),
        ("system/*.*", "cruds"),
        ("patient/Patient.read", ""),
        ("system/Observation.read", ""),
        ("system/Patient.reads", ""),
        # Letters of version 2 have one order.
        ("system/Patient.sr", ""),
        ("system/Patient.rr", ""),
        ("system/Patient.rs?_id=1", ""),
        # An array, as HTTP APIs pass it on, and as JSON.
        ("[system/Patient.r openid user/Patient.write]", "crud"),
        ("[system/Patient.r]", "r"),
        ("[]", ""),
        (["system/Patient.r", 7, "user/*.s"], "rs"),
        (["openid system/Patient.r", "user/*.s"], "rs"),
        ([["system/Patient.r"]], ""),
        ("[system/Patient.r", ""),
        ("system/Patient.", ""),
        ("xsystem/Patient.r", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_scope_grants_rights(scope: Any, letters: str) -> None:
    caller = identify(claims(scope=scope))
    assert {letter for letter in "cruds" if caller.may(letter, "Patient")} == set(letters)


@pytest.mark.parametrize("scp", ["system/Patient.rs", "[openid system/Patient.rs]", ["system/Patient.rs"]])
@pytest.mark.parametrize("scope", [None, "openid"])
def test_scopes_may_be_in_the_claim_scp(scp: Any, scope: Any) -> None:
    authorizer = claims(scope=scope)
    authorizer["jwt"]["claims"]["scp"] = scp
    caller = identify(authorizer)
    assert {letter for letter in "cruds" if caller.may(letter, "Patient")} == {"r", "s"}


@pytest.mark.parametrize("claim", ["tid", "https://example.com/tenant"])
def test_tenant_is_read_from_the_configured_claim(claim: str) -> None:
    authorizer = claims(tenant="in-another-claim")
    authorizer["jwt"]["claims"][claim] = "north-clinic"
    assert identify(authorizer, tenant_claim=claim).tenant == "north-clinic"
    del authorizer["jwt"]["claims"][claim]
    refused = identify(authorizer, tenant_claim=claim)
    assert (refused.tenant, refused.may("r", "Patient")) == (UNKNOWN, False)


@pytest.mark.parametrize("tenant", [None, "", "a#b", "$platform", "a b", "x" * 65, "ä", "a\n"])
def test_invalid_tenant_has_no_rights(tenant: Any) -> None:
    caller = identify(claims(tenant=tenant))
    assert (caller.tenant, caller.may("r", "Patient"), caller.authenticated) == (UNKNOWN, False, True)


@pytest.mark.parametrize("subject", [None, ""])
def test_token_without_subject_has_no_rights(subject: Any) -> None:
    assert not identify(claims(sub=subject)).may("r", "Patient")


def test_iam_caller_has_all_rights() -> None:
    caller = identify({"iam": {"accountId": "123456789012", "userArn": "arn:aws:iam::123456789012:user/a"}})
    assert (caller.tenant, caller.subject) == ("iam-123456789012", "arn:aws:iam::123456789012:user/a")
    assert all(caller.may(letter, "Patient") for letter in "cruds")
    assert caller.may("d", "DocumentReference")


def test_request_without_authorizer_is_not_authenticated() -> None:
    assert not identify({}).authenticated


@pytest.mark.requirement("R1.3", "C6")
@pytest.mark.parametrize("route", [route for route in ROUTES if route.right], ids=lambda route: route.operation)
@pytest.mark.parametrize(
    ("authorizer", "status", "tenant"),
    [
        (claims(scope="system/Observation.cruds patient/*.cruds"), 403, "north-clinic"),
        (claims(scope=""), 403, "north-clinic"),
        (claims(tenant="a b"), 403, UNKNOWN),
        ({}, 401, UNKNOWN),
    ],
    ids=["other rights", "no right", "no tenant", "no token"],
)
@pytest.mark.parametrize("malformed", [False, True])
def test_every_refusal_is_audited(
    platform: Platform, route: Route, authorizer: dict[str, Any], status: int, tenant: str, malformed: bool
) -> None:
    path = route.path.format(id="1", vid="1")
    headers = dict.fromkeys(("accept", "if-match", "minimum-version", "content-type"), "?") if malformed else {}
    query = "unknown=1&_count=x" if malformed else ""
    reply = platform.call(route.method, path, authorizer=authorizer, headers=headers, query=query)
    assert reply.status == status
    assert reply.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert platform.calls() == ["put_item"]
    (item,) = platform.audit()
    assert (item["tenant"], item["outcome"], item["status"]) == (tenant, "refused", str(status))
    assert item["interaction"] == (route.interaction or "operation")
    assert accessed(item).partition("/")[0] == route.type


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("route", [route for route in ROUTES if route.right], ids=lambda route: route.operation)
def test_route_needs_exactly_its_right(platform: Platform, route: Route) -> None:
    path, others = route.path.format(id="1", vid="1"), "cruds".replace(str(route.right), "")
    needed = "".join(sorted({str(route.right), *("rs" if route.conditional else "")}, key="cruds".index))
    for letters, refused in ((others, True), (needed, False)):
        for method in (route.method, *(["HEAD"] if route.method == "GET" else [])):
            reply = platform.call(method, path, authorizer=claims(scope=f"system/{route.type}.{letters}"))
            assert (reply.status == 403) is refused, (letters, reply.body)

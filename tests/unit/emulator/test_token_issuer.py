"""Tests of the token issuer's documents and key."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable

from healthcare_dr.emulator.emulator import Emulator
from unit.emulator.aws import Aws


def test_issuer_publishes_only_public_keys_and_issues_no_tokens(patched: Aws) -> None:
    with patched.web(base_url=patched.emulator.issuer()) as client:
        discovery = client.get("/.well-known/openid-configuration").json()
        assert discovery["issuer"] == patched.emulator.issuer()
        assert "token_endpoint" not in discovery
        (key,) = client.get(discovery["jwks_uri"]).json()["keys"]
        assert not set(key) & {"d", "p", "q", "dp", "dq", "qi"}
        assert (key["alg"], key["use"], len(key["n"])) == ("RS256", "sig", 342)
        assert client.post("/token").status_code == 404


def test_restart_keeps_the_signing_key(make_emulator: Callable[..., Emulator]) -> None:
    emulator = make_emulator()
    kids = set()
    for _ in range(2):
        token = emulator.token(subject="s", tenant="t", scopes=[])
        header = token.split(".")[0]
        kids.add(json.loads(urlsafe_b64decode(header + "=="))["kid"])
        emulator.start()
        emulator.stop()
    assert len(kids) == 1

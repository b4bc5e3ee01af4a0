"""What the handler leaves behind when Lambda has imported it."""

import subprocess
import sys

VARIABLES = {
    "AWS_REGION": "us-east-1",
    "PEER_REGION": "us-west-2",
    "RECORDS_TABLE": "records",
    "AUDIT_TABLE": "audit",
    "DOCUMENTS_BUCKET": "documents",
    "KEY_ARN": "key",
    "PEER_DOCUMENTS_BUCKET": "peer-documents",
    "PEER_ROLE_ARN": "arn:aws:iam::123456789012:role/peer",
    "INDEX_KEY_ALIAS": "alias/index",
    "LOG_LEVEL": "INFO",
    "TENANT_CLAIM": "tenant",
    "OIDC_ISSUER": "",
    "CORS": "false",
}
SAY = "import gc; print(gc.isenabled(), gc.get_freeze_count() > 10_000)"


def start(variables: dict[str, str], code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=60
    )


def test_garbage_is_collected_again_once_the_container_has_started() -> None:
    assert start(VARIABLES, f"import patient_api.handlers.api; {SAY}").stdout.split() == ["True", "True"]


def test_a_missing_variable_is_named() -> None:
    ended = start(
        {name: value for name, value in VARIABLES.items() if name != "KEY_ARN"}, "import patient_api.handlers.api"
    )
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1] == "KeyError: 'KEY_ARN'"

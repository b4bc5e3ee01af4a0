"""Tests of the API page: the template matches the API, and the page shows responses without secrets."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import api_examples as tool
import certifi
import pytest

from healthcare_dr.errors import DeploymentError
from patient_api.contract.routes import ROUTES, find
from patient_api.errors import Unprocessable
from patient_api.fhir.codec import parse
from patient_api.fhir.profile import validate
from unit.ops.seed_api import SeedApi, hindering, serving

TEMPLATE = tool.TEMPLATE.read_text(encoding="utf-8")
EXAMPLES = tool.examples_in(TEMPLATE)
# Drain flags are for health checks, and parts need a document of 64 MiB.
NOT_SHOWN = {"getDrain", "completeDocument"}
KNOWN = {
    "EAST": "https://east/_aws/execute-api/abc123",
    "WEST": "https://west/_aws/execute-api/def456",
    "PATIENT": "p-1",
    "UPLOAD": "https://127.0.0.1:4566/bucket/key?X-Amz-Signature=0123&X-Amz-Expires=900",
    "UPLOAD_HEADERS": "Content-Type: text/plain\nIf-None-Match: *",
    "V1": "1-0-us-east-1",
}
ADDRESSES = {"EAST": (KNOWN["EAST"], "abc123"), "WEST": (KNOWN["WEST"], "def456")}


def example(text: str) -> Any:
    (made,) = tool.examples_in(f"```http name 200\n{text}\n```\n")
    return made


def done(text: str, body: Any, *, status: int = 200, **headers: str) -> Any:
    made = example(text)
    return tool.Performed(made, tool.command(made, KNOWN), status, headers, body)


def test_every_variable_is_saved_before_it_is_used() -> None:
    known = dict.fromkeys(("EAST", "WEST"), "x")
    for made in EXAMPLES:
        for text in (made.url, *made.headers, made.body, made.until or ""):
            tool.filled(text, known)
        assert made.sender in {*tool.SCOPES, "NONE"}
        known |= dict.fromkeys(made.saves, "x")


def test_every_operation_of_the_api_is_shown() -> None:
    calls = [(made.method, made.url.partition("?")[0].partition("/")) for made in EXAMPLES if made.status != 405]
    # The address of a page comes from the previous page.
    paths = [
        (method, f"/{path}")
        for method, (region, _, path) in calls
        if region in {"$EAST", "$WEST"} and path not in {"fhir/$OLDER", "fhir/$NEXT"}
    ]
    assert all(find(method, path) for method, path in paths)
    shown = {match.route.operation for method, path in paths if (match := find(method, path))}
    assert shown == {route.operation for route in ROUTES} - NOT_SHOWN


def test_bodies_have_their_declared_media_type() -> None:
    for made in EXAMPLES:
        kind = f"{made.method} {made.url.rpartition('/')[2]}"
        if kind not in {"POST Patient", "POST DocumentReference", "PUT $PATIENT"} or made.status in {400, 403, 415}:
            continue
        resource = parse(made.body.replace("$PATIENT", "p-1").encode())
        assert isinstance(resource, dict)
        if made.name in {"invalid", "unknown-element", "modifier-extension", "announce-incomplete"}:
            with pytest.raises(Unprocessable):
                validate(resource)
        else:
            validate(resource)


def test_uploaded_document_is_the_announced_one() -> None:
    by_name = {made.name: made for made in EXAMPLES}
    attachment = json.loads(by_name["announce"].body)["content"][0]["attachment"]
    content = by_name["upload"].body.encode()
    assert attachment["size"] == len(content)
    announced = base64.b64decode(attachment["extension"][0]["valueBase64Binary"])
    assert announced == hashlib.sha256(content).digest()


@pytest.mark.parametrize("text", ["@sometimes\nGET /", "@replication maybe\nGET /", "@save ONE\nGET /"])
def test_unknown_directive_is_reported(text: str) -> None:
    with pytest.raises(ValueError, match="example name: @"):
        example(text)
    with pytest.raises(ValueError, match="an example is named twice: name"):
        tool.examples_in("```http name 200\nGET /\n```\n" * 2)


def test_command_is_valid_in_a_shell() -> None:
    assert tool.command(example("GET $EAST/fhir/Patient/$PATIENT?_count=2&x=y"), KNOWN) == (
        'curl -i --cacert $CA -H "Authorization: Bearer $TOKEN" "$EAST/fhir/Patient/p-1?_count=2&x=y"'
    )
    assert tool.command(example('@as NONE\nPUT $UPLOAD\n$UPLOAD_HEADERS\nIf-Match: W/"$V1"\n\nit\'s'), KNOWN) == (
        "curl -i --cacert $CA -X PUT \\\n    -H 'Content-Type: text/plain' \\\n    -H 'If-None-Match: *' \\\n"
        "    -H 'If-Match: W/\"1-0-us-east-1\"' \\\n    --data-binary 'it'\"'\"'s' \\\n    \"$UPLOAD\""
    )
    posted = tool.command(example("@as READER\nPOST $WEST/fhir/Patient\n\n{}"), KNOWN)
    assert posted == 'curl -i --cacert $CA -H "Authorization: Bearer $READER" --data-binary \'{}\' "$WEST/fhir/Patient"'


def test_pointer_selects_elements_of_lists() -> None:
    document = {"a": [{"url": "x", "v": "1"}, {"url": "y", "v": "2"}, {"url": "y", "v": "3"}]}
    assert tool.pointed(document, "/a/0/v") == "1"
    assert tool.pointed(document, "/a/url=y/v") == "2"
    assert tool.pointed(document, "/a/url=y*/v") == "2\n3"
    for nowhere in ("/b", "/a/7", "/a/url=z/v", "/a/url=z*/v", "/a/0/v/w"):
        assert not tool.holds(document, nowhere)
    assert tool.holds(document, "/a/0/v==1")
    assert not tool.holds(document, "/a/0/v==2")
    assert not tool.holds(None, "/a")


def test_response_is_shown_without_secrets_and_addresses() -> None:
    body = {
        "fullUrl": "https://abc123.execute-api.us-east-1.amazonaws.com/fhir/Patient/p-1",
        "link": "Patient?name=x&_cursor=abcdefghijklmnopqrstuvwxyz.signature",
        "address": "https://127.0.0.1:4566/bucket/key?X-Amz-Credential=AKIA%2F1&X-Amz-Expires=900&X-Amz-Signature=f00d",
        "other": "https://bucket.s3.localhost:4566/key?AWSAccessKeyId=AKIA&Signature=f00d%3D&x-amz-security-token=t0k",
    }
    text = tool.rendered("```http name 200\nGET /\n```\n", [done("GET /", body)], ADDRESSES)
    assert "$EAST/fhir/Patient/p-1" in text
    assert "_cursor=abcdefgh…" in text
    assert "$AWS/bucket/key?X-Amz-Credential=…&X-Amz-Expires=900&X-Amz-Signature=…" in text
    assert "$AWS/key?AWSAccessKeyId=…&Signature=…&x-amz-security-token=…" in text
    for secret in ("f00d", "AKIA", "t0k", "signature", "127.0.0.1", "abc123"):
        assert secret not in text


def test_the_page_shows_status_headers_and_body() -> None:
    template = "Prose.\n\n```http name 201\nPOST $EAST/x\n```\n\n```http other 200\n@hidden\nGET /\n```\n\nMore.\n"
    shown = done("POST $EAST/x", {"id": "p-1"}, status=201, etag='W/"1"', date="today", **{"content-type": "fhir"})
    hidden = tool.Performed(tool.examples_in(template)[1], "", 200, {}, None)
    assert tool.rendered(template, [shown, hidden], ADDRESSES).removeprefix(tool.GENERATED) == (
        "Prose.\n\n<!-- example: name -->\n```console\n"
        '$ curl -i --cacert $CA -X POST -H "Authorization: Bearer $TOKEN" "$EAST/x"\n'
        'HTTP 201 Created\nContent-Type: fhir\nETag: W/"1"\n\n{"id": "p-1"}\n```\n\nMore.\n'
    )


@pytest.mark.parametrize(
    "body", [None, "a\n\ntext", {"a": [1, {"b": "x" * 200, "c": True}]}, {"entry": [{"a": 1}] * 9}]
)
@pytest.mark.parametrize("headers", [{}, {"etag": "1"}])
def test_page_equals_its_source(body: Any, headers: dict[str, str]) -> None:
    template = (
        "```http name 200\n@cut /entry 1\nGET /\n```\n"
        if body and "entry" in body
        else "```http name 200\nGET /\n```\n"
    )
    made = tool.Performed(tool.examples_in(template)[0], "curl", 200, headers, body)
    assert tool.differences(tool.rendered(template, [made], ADDRESSES), [made]) == []


def test_outdated_page_is_reported() -> None:
    template = "```http name 200\nGET /\n```\n"
    written = tool.rendered(template, [done("GET /", {"a": "x", "b": [{"c": 1}]})], ADDRESSES)
    # Values may differ. Paths and types may not.
    assert tool.differences(written, [done("GET /", {"a": "other", "b": [{"c": 2}, {"c": 3}]})]) == []
    assert tool.differences(written, [done("GET /", {"a": "x", "b": [{"c": "1"}]}, status=404)]) == [
        "name: the page shows 200, the response was 404",
        "name: only in the page: $.b[].c: int",
        "name: not in the page: $.b[].c: str",
    ]
    assert tool.differences("", [done("GET /", None)]) == ["name is not in the page"]
    assert tool.differences(written, []) == ["name is no longer an example"]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[SeedApi]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as served:
        yield served


def performed(api: SeedApi, template: str, *, wait_seconds: float = 5) -> tuple[list[Any], list[bool]]:
    replicated: list[bool] = []
    platform = tool.Platform(
        regions=((api.url, "abc123"), (api.url, "def456")),
        tokens={"TOKEN": "a.signed.token", "READER": "another"},
        # The server does not use TLS.
        ca_bundle=Path(certifi.where()),
        replicate=replicated.append,
    )
    try:
        found = list(
            tool.perform(tool.examples_in(template), platform, wait_seconds=wait_seconds, pause=lambda _: None)
        )
    except DeploymentError:
        assert replicated[-1] is True
        raise
    return found, replicated


CREATE = "Idempotency-Key: one\n\n" + '{"resourceType": "Patient"}'


def test_examples_run_in_order_with_saved_values(api: SeedApi) -> None:
    found, replicated = performed(
        api,
        f"```http a 201\n@save ID /id\n@replication off\nPOST $EAST/fhir/Patient\n{CREATE}\n```\n"
        "```http b 200\n@as NONE\n@replication on\nPUT $WEST/bucket/$ID\nIf-None-Match: *\n\nbytes\n```\n",
    )
    assert [done.status for done in found] == [201, 200]
    assert api.calls == ["POST /fhir/Patient", f"PUT /bucket/{found[0].body['id']}"]
    assert [headers.get("authorization") for headers in api.headers] == ["Bearer a.signed.token", None]
    assert list(api.uploaded.values()) == [b"bytes"]
    assert replicated == [False, True, True]


def test_request_is_repeated_until_its_condition_holds(api: SeedApi) -> None:
    api.hinder = hindering(503, numbers=lambda number: number < 3)
    found, _ = performed(api, f"```http a 201\n@until /resourceType==Patient\nPOST $EAST/fhir/Patient\n{CREATE}\n```\n")
    assert (found[0].status, len(api.calls)) == (201, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```http a 200\n@replication off\n", "example a: the status is 201 instead of 200"),
        ("```http a 201\n@until /nothing\n", "example a: the status is 201 instead of 201 with /nothing"),
        ("```http a 201\n@save ID /nothing\n", "example a: there is no /nothing in"),
        ("```http a 201\n@cut /entry 1\n", "example a: there is no /entry in"),
    ],
)
def test_unexpected_response_prints_one_line(api: SeedApi, text: str, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        performed(api, f"{text}POST $EAST/fhir/Patient\n{CREATE}\n```\n", wait_seconds=0)


def test_page_with_a_secret_is_not_written(tmp_path: Path) -> None:
    platform = tool.Platform(
        regions=(("https://e", "e"), ("https://w", "w")),
        tokens={"TOKEN": "a.signed.token"},
        ca_bundle=tmp_path / "authority.pem",
        replicate=lambda _: None,
    )
    tool.refuse_leaks("a page", platform)
    for secret in ("a.signed.token", str(tmp_path / "authority.pem"), str(tool.DOCS.parent)):
        with pytest.raises(DeploymentError, match="was not written"):
            tool.refuse_leaks(f"a page with {secret}", platform)


def test_missing_platform_prints_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HDR_HOME", str(tmp_path / "home"))
    assert tool.main() == 1
    assert capsys.readouterr().err == (
        "api_examples: the embedded AWS does not run: start it and deploy to it with `hdr up`\n"
    )

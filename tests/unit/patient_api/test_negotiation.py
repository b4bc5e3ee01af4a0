"""Media types of responses, preferences, methods, and the media types, encodings and sizes of bodies."""

import base64
import gzip
import json
import tracemalloc
import zlib
from functools import partial

import pytest

from patient_api.contract.routes import PATCH_BODY, ROUTES
from patient_api.http.request import MAX_BODY
from unit.patient_api.fakes.api import Platform, Reply, claims, id_of, patient

FHIR, JSON = "application/fhir+json", "application/json"
BODY = json.dumps(patient()).encode()
# The names of tests must be equal in each run, so the bytes contain no time and are not in the name.
zipped = partial(gzip.compress, mtime=0)
ZIPPED = zipped(BODY)


def name_of(value: object) -> str | None:
    return f"{len(value)} bytes" if isinstance(value, (bytes, str)) and len(value) > 20 else None


class TestAccept:
    @pytest.mark.parametrize(
        ("accept", "written"),
        [
            ("", FHIR),
            ("*/*", FHIR),
            ("application/*", FHIR),
            (FHIR, FHIR),
            ("Application/FHIR+JSON; fhirVersion=4.0; charset=UTF-8", FHIR),
            ('application/fhir+json; fhirVersion="4.0"', FHIR),
            (JSON, JSON),
            (f"{JSON}, {FHIR}", FHIR),
            (f"{JSON}, {FHIR};q=0.9", JSON),
            (f"{JSON}, */*;q=0.1", JSON),
            (f"{FHIR};q=0, */*", JSON),
            (f'text/html;x="a, {FHIR}", {JSON};q=0.001', JSON),
            ("text/html, */*;q=0.1", FHIR),
            (f"{FHIR};fhirVersion=3.0, {JSON};q=0.5", JSON),
            (f"{FHIR};q=nan", FHIR),
            (", ,", FHIR),
            (f"{JSON};q=0", None),
            ("text/html", None),
            ("application/fhir+xml, text/*", None),
            ("*/*;q=0", None),
            (f"{FHIR};q=0, {JSON};q=0.0, */*", None),
            (f"{FHIR};fhirVersion=5.0", None),
            (f"{FHIR};fhirVersion=4.05", None),
            (f"{FHIR};fhirVersion=5.0;fhirVersion=4.0", None),
            (f"{FHIR};charset=utf-16", None),
            (f'"{FHIR}"', None),
        ],
    )
    def test_best_accepted_media_type_is_written(self, platform: Platform, accept: str, written: str | None) -> None:
        path, _ = platform.made()
        reply = platform.call("GET", path, headers={"accept": accept})
        assert (reply.status, reply.headers["content-type"]) == ((200, written) if written else (406, FHIR))

    @pytest.mark.parametrize(
        ("query", "written"),
        [
            ("_format=json", FHIR),
            ("_format=application/fhir%2Bjson", FHIR),
            ("_format=application/fhir+json;fhirVersion=4.0", FHIR),
            ("_format=application/json", JSON),
            ("_format=text/json", JSON),
            ("_format=JSON", FHIR),
            ("_format=Application/FHIR+JSON;FhirVersion=4.0", FHIR),
            ("_format=application/json;charset=utf-16;charset=utf-8", None),
            ("_format=application/fhir+json;fhirVersion=3.0", None),
            ("_format=ttl", None),
            ("_format=", None),
            ("_format=json&_format=xml", None),
        ],
    )
    def test_format_parameter_takes_precedence(self, platform: Platform, query: str, written: str | None) -> None:
        path, _ = platform.made()
        reply = platform.call("GET", path, headers={"accept": "text/html"}, query=query)
        assert (reply.status, reply.headers["content-type"]) == ((200, written) if written else (406, FHIR))

    def test_errors_are_written_in_the_accepted_media_type(self, platform: Platform) -> None:
        reply = platform.call("GET", "/fhir/Patient/1", headers={"accept": JSON})
        assert (reply.status, reply.headers["content-type"]) == (404, JSON)


class TestReturn:
    @pytest.mark.parametrize(
        ("prefer", "kind"),
        [
            ("", "Patient"),
            ("return=representation", "Patient"),
            ("return=minimal", None),
            ('Return = "minimal"', None),
            ('respond-async;x="return=representation", return=minimal; x=y', None),
            ("return=minimal, return=representation", None),
            ("return=OperationOutcome", "OperationOutcome"),
            ('x="return=minimal"', "Patient"),
        ],
    )
    def test_write_returns_the_preferred_content(self, platform: Platform, prefer: str, kind: str | None) -> None:
        headers = {"prefer": prefer}
        created = platform.call("POST", "/fhir/Patient", patient(), headers=headers)
        path = created.location
        changed = platform.update(path, {**headers, "if-match": created.headers["etag"]}, gender="other")
        merged = platform.patch(path, {"active": True}, headers)
        for reply, status in ((created, 201), (changed, 200), (merged, 200)):
            assert reply.status == status
            assert (reply.json["resourceType"] if reply.body else None) == kind
            assert ("content-type" in reply.headers) is (kind is not None)
        issue = json.loads(created.body or "{}").get("issue")
        assert issue is None or [each["severity"] for each in issue] == ["information"]

    def test_client_without_the_right_to_read_receives_no_resource(self, platform: Platform) -> None:
        path, _ = platform.made()
        for prefer, body in (("", ""), ("return=representation", ""), ("return=OperationOutcome", "OperationOutcome")):
            reply = platform.patch(
                path, {"active": True}, {"prefer": prefer}, authorizer=claims(scope="system/Patient.u")
            )
            assert (reply.status, reply.json["resourceType"] if reply.body else "") == (200, body)


def sent(platform: Platform, data: bytes, coding: str, content_type: str = FHIR) -> Reply:
    body = base64.b64encode(data).decode()
    headers = {"content-encoding": coding, "content-type": content_type}
    return platform.call("POST", "/fhir/Patient", body, encoded=True, headers=headers)


class TestContentEncoding:
    @pytest.mark.parametrize(
        ("coding", "data"),
        [
            ("gzip", ZIPPED),
            ("GZIP", ZIPPED),
            ("x-gzip", ZIPPED),
            ("identity, gzip,", ZIPPED),
            ("identity", BODY),
            ("", BODY),
            ("gzip", zipped(BODY[:10]) + zipped(b"") + zipped(BODY[10:])),
            ("gzip", zipped(b"\xef\xbb\xbf" + BODY)),
            ("gzip", zipped(BODY + b" " * (MAX_BODY - len(BODY)))),
        ],
        ids=name_of,
    )
    def test_gzip_is_decoded(self, platform: Platform, coding: str, data: bytes) -> None:
        reply = sent(platform, data, coding)
        assert (reply.status, reply.json["name"]) == (201, patient()["name"])

    @pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br", "garbage", '"gzip"'])
    def test_other_coding_returns_415(self, platform: Platform, coding: str) -> None:
        reply = sent(platform, ZIPPED, coding)
        assert reply.outcome == (415, "not-supported")
        assert reply.headers["accept-encoding"] == "gzip"
        assert "Content-Encoding" in reply.json["issue"][0]["diagnostics"]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            BODY,
            zlib.compress(BODY),
            ZIPPED[:-1],
            ZIPPED[:12],
            ZIPPED[:-8] + bytes(8),
            ZIPPED + b"x",
            zipped(BODY[:10]) + b"garbage",
            zipped(b"") * 65,
        ],
        ids=name_of,
    )
    def test_invalid_gzip_returns_400(self, platform: Platform, data: bytes) -> None:
        reply = sent(platform, data, "gzip")
        assert reply.outcome == (400, "structure")
        assert not platform.records

    @pytest.mark.timeout(10)
    def test_limit_applies_to_the_decoded_body(self, platform: Platform) -> None:
        assert sent(platform, zipped(BODY + b" " * (MAX_BODY + 1 - len(BODY))), "gzip").outcome == (413, "too-long")
        bomb = zipped(bytes(200_000_000), compresslevel=9)
        assert len(bomb) < MAX_BODY
        tracemalloc.start()
        try:
            assert sent(platform, bomb, "gzip").status == 413
            assert tracemalloc.get_traced_memory()[1] < 20 * MAX_BODY
        finally:
            tracemalloc.stop()
        assert sent(platform, zipped(bytes(100_000)) * 60, "gzip").status == 413

    def test_form_and_patch_may_be_encoded(self, platform: Platform) -> None:
        path, _ = platform.made()
        form = base64.b64encode(zipped(b"family=ex")).decode()
        headers = {"content-encoding": "gzip", "content-type": "application/x-www-form-urlencoded"}
        assert platform.call("POST", "/fhir/Patient/_search", form, encoded=True, headers=headers).json["total"] == 1
        patch = base64.b64encode(zipped(b'{"active":true}')).decode()
        headers = {"content-encoding": "gzip", "content-type": JSON}
        assert platform.call("PATCH", path, patch, encoded=True, headers=headers).json["active"] is True


class TestContentType:
    @pytest.mark.parametrize(
        ("content_type", "status"),
        [
            ('application/fhir+json; charset="utf-8"; fhirVersion=4.0', 201),
            ("application/fhir+json;fhirVersion=4.0.1", 201),
            ("application/json;charset=UTF8", 201),
            ("application/json;charset=utf-8;Charset=UTF-8", 201),
            ("application/json;charset=utf-16;charset=utf-8", 415),
            ("application/json;charset=utf-8;charset=utf-16", 415),
            ("application/fhir+json;fhirVersion=5.0;fhirVersion=4.0", 415),
            ("application/fhir+json;fhirVersion=4.05", 415),
            ("application/fhir+json;fhirVersion=4.0x", 415),
            ("application/fhir+json;fhirVersion=4", 415),
            ("application/fhir+json;fhirVersion=", 415),
            ("application/json;charset=", 415),
            ('application/json;charset="utf-8', 415),
            ("application/json, application/json", 415),
            ("application/json; charset=latin-1", 415),
            ('Application/FHIR+JSON; Charset="UTF-8"', 201),
            ('application/json; x="; charset=latin-1"', 201),
            ("application/fhir+json; fhirVersion=3.0", 415),
            ("application/json; charset=utf-16", 415),
            ("application/json; charset=x-utf-8-like", 415),
            ("application/fhir+json, text/plain", 415),
            (";", 415),
        ],
    )
    def test_parameters_of_the_content_type_are_checked(
        self, platform: Platform, content_type: str, status: int
    ) -> None:
        assert sent(platform, BODY, "", content_type).status == status

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"\xef\xbb\xbf" + BODY, 201),
            (b"\xef\xbb\xbf" * 2 + BODY, 400),
            (b"\xff\xfe" + BODY.decode().encode("utf-16-le"), 400),
            (b"\xfe\xff" + BODY.decode().encode("utf-16-be"), 400),
            (b"\xef\xbb\xbf", 400),
        ],
    )
    def test_byte_order_mark_of_utf_8_is_ignored(self, platform: Platform, data: bytes, status: int) -> None:
        assert sent(platform, data, "").status == status
        if status == 201:
            assert platform.call("POST", "/fhir/Patient", "\ufeff" + BODY.decode()).status == 201


class TestMethods:
    @pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=lambda r: r.operation)
    def test_head_returns_the_headers_of_get(self, route: object) -> None:
        replies = []
        for method in ("GET", "HEAD"):
            platform = Platform(probes=())
            path, etag = platform.made()
            at = route.path.format(id=id_of(path), vid=etag[3:-1], region="us-west-2")  # type: ignore[attr-defined]
            at = at.replace(id_of(path), "x") if "DocumentReference/" in at else at
            replies.append(platform.call(method, at))
            accesses = [(item["interaction"], item["outcome"], item["status"]) for item in platform.audit(action="R")]
            replies[-1].headers["accesses"] = str(sorted(accesses))
            platform.close()
        get, head = replies
        get.headers.pop("etag", None), head.headers.pop("etag", None)
        assert (head.status, head.headers, head.body) == (get.status, get.headers, "")
        assert get.body

    @pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
    def test_options_returns_the_methods(self, platform: Platform, path: str) -> None:
        reply = platform.call("OPTIONS", path.format(id="1", vid="2", region="us-east-1"))
        assert (reply.status, reply.body) == (204, "")
        known = {route.method for route in ROUTES if route.path == path} | {"OPTIONS"}
        assert set(reply.headers["allow"].split(", ")) - {"HEAD"} == known
        assert ("accept-patch" in reply.headers) is ("PATCH" in known)
        assert not platform.dynamodb.calls

    def test_options_of_unknown_path_returns_404(self, platform: Platform) -> None:
        assert platform.call("OPTIONS", "/nowhere").status == 404

    @pytest.mark.parametrize("method", ["POST", "TRACE"])
    def test_paths_with_patch_return_accept_patch(self, platform: Platform, method: str) -> None:
        path, _ = platform.made()
        assert platform.call(method, path).headers["accept-patch"] == ", ".join(PATCH_BODY)
        assert "accept-patch" not in platform.call("PUT", "/fhir/Patient").headers

    @pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "", "application/xml-patch+xml"])
    def test_patch_of_unknown_media_type_returns_415(self, platform: Platform, content_type: str) -> None:
        path, etag = platform.made()
        reply = platform.call("PATCH", path, [], headers={"content-type": content_type, "if-match": etag})
        assert (reply.status, reply.headers["accept-patch"]) == (415, ", ".join(PATCH_BODY))
        other = platform.call("POST", "/fhir/Patient", "x", headers={"content-type": content_type})
        assert (other.status, "accept-patch" in other.headers) == (415, False)


@pytest.mark.parametrize(
    ("query", "status"), [("mode=full", 200), ("mode=normative", 400), ("mode=full&mode=full", 400)]
)
def test_capability_statement_supports_the_mode_full(platform: Platform, query: str, status: int) -> None:
    assert platform.call("GET", "/fhir/metadata", authorizer={}, query=query).status == status


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (None, FHIR, 400),
        ("{", FHIR, 400),
        ("[]", FHIR, 400),
        ('"Patient"', FHIR, 400),
        ('{"resourceType":"Patient","a":NaN}', JSON, 400),
        ("\ud800", JSON, 400),
        ("{}", JSON, 422),
        ('{"resourceType":"Observation"}', JSON, 422),
        ('{"resourceType":"Patient","meta":1}', JSON, 422),
        ('{"resourceType":"Patient"}', "text/plain", 415),
        ('{"resourceType":"Patient"}', "", 415),
        ('{"resourceType":"Patient"}', JSON, 201),
        (" " * (MAX_BODY + 1), JSON, 413),
        ("é" * (MAX_BODY // 2 + 1), JSON, 413),
    ],
)
def test_body_is_stored_or_rejected(platform: Platform, body: str | None, content_type: str, status: int) -> None:
    reply = platform.call("POST", "/fhir/Patient", body, headers={"content-type": content_type})
    assert reply.status == status
    if status != 201:
        assert reply.outcome
        assert not platform.records


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (base64.b64encode(BODY).decode(), 201),
        (base64.b64encode(b'{"a":"\xff"}').decode(), 400),
        ("%%%", 400),
        (base64.b64encode(b" " * (MAX_BODY + 1)).decode(), 413),
        ("A" * (6 * 1024 * 1024), 413),
    ],
    ids=name_of,
)
def test_base64_of_the_gateway_is_decoded(platform: Platform, body: str, status: int) -> None:
    assert platform.call("POST", "/fhir/Patient", body, encoded=True).status == status


def test_largest_body_fits_into_its_items(platform: Platform) -> None:
    start, end = '{"resourceType":"Patient","address":[{"text":"', '"}]}'
    space = MAX_BODY - len(start) - len(end)
    largest = start + "é" * (space // 2) + "x" * (space % 2) + end
    assert len(largest.encode()) == MAX_BODY
    assert platform.call("POST", "/fhir/Patient", largest).status == 201

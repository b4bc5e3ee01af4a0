"""What an answer is written in, what a body may be encoded in, and which methods there are."""

import base64
import gzip
import json
import tracemalloc
import zlib
from functools import partial

import pytest

from patient_api.contract.routes import PATCH_BODY, ROUTES
from patient_api.http.request import MAX_BODY
from unit.patient_api.changes import made
from unit.patient_api.fakes import RECORDS
from unit.patient_api.whole_api import Platform, Reply, claims, outcome, patient

FHIR, JSON = "application/fhir+json", "application/json"
BODY = json.dumps(patient()).encode()
# No two collections of the tests may differ: without the time in it, and not named by its bytes.
zipped = partial(gzip.compress, mtime=0)
ZIPPED = zipped(BODY)


def named(value: object) -> str | None:
    return f"{len(value)} bytes" if isinstance(value, bytes) else None


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
    def test_ranges_and_weights(self, platform: Platform, accept: str, written: str | None) -> None:
        path, _ = made(platform)
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
    def test_a_format_weighs_more(self, platform: Platform, query: str, written: str | None) -> None:
        path, _ = made(platform)
        reply = platform.call("GET", path, headers={"accept": "text/html"}, query=query)
        assert (reply.status, reply.headers["content-type"]) == ((200, written) if written else (406, FHIR))

    def test_refusals_are_written_alike(self, platform: Platform) -> None:
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
            ("return=everything", "Patient"),
            ('x="return=minimal"', "Patient"),
        ],
    )
    def test_what_a_write_answers_with(self, platform: Platform, prefer: str, kind: str | None) -> None:
        headers = {"prefer": prefer}
        created = platform.call("POST", "/fhir/Patient", patient(), headers=headers)
        path = created.location
        body = patient(id=path.rpartition("/")[2], gender="other")
        changed = platform.call("PUT", path, body, headers={**headers, "if-match": created.headers["etag"]})
        merged = platform.call("PATCH", path, {"active": True}, headers={**headers, "content-type": JSON})
        for reply, status in ((created, 201), (changed, 200), (merged, 200)):
            assert reply.status == status
            assert (reply.json["resourceType"] if reply.body else None) == kind
            assert ("content-type" in reply.headers) is (kind is not None)
        issue = json.loads(created.body or "{}").get("issue")
        assert issue is None or [each["severity"] for each in issue] == ["information"]

    def test_who_may_not_read_gets_no_resource(self, platform: Platform) -> None:
        path, _ = made(platform)
        for prefer, body in (("return=representation", ""), ("return=OperationOutcome", "OperationOutcome")):
            reply = platform.call(
                "PATCH",
                path,
                {"active": True},
                headers={"prefer": prefer, "content-type": JSON},
                authorizer=claims(scope="system/Patient.u"),
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
        ids=named,
    )
    def test_gzip_is_decoded(self, platform: Platform, coding: str, data: bytes) -> None:
        reply = sent(platform, data, coding)
        assert (reply.status, reply.json["name"]) == (201, patient()["name"])

    @pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br", "garbage", '"gzip"'])
    def test_any_other_coding_is_refused(self, platform: Platform, coding: str) -> None:
        reply = sent(platform, ZIPPED, coding)
        assert (reply.status, outcome(reply.json)) == (415, "not-supported")
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
        ids=named,
    )
    def test_what_is_not_gzip_is_malformed(self, platform: Platform, data: bytes) -> None:
        reply = sent(platform, data, "gzip")
        assert (reply.status, outcome(reply.json)) == (400, "structure")
        assert not platform.dynamodb.tables[RECORDS]

    @pytest.mark.timeout(10)
    def test_the_limit_is_for_what_comes_out(self, platform: Platform) -> None:
        assert sent(platform, zipped(BODY + b" " * (MAX_BODY + 1 - len(BODY))), "gzip").status == 413
        bomb = zipped(bytes(200_000_000), compresslevel=9)
        assert len(bomb) < MAX_BODY
        tracemalloc.start()
        try:
            assert sent(platform, bomb, "gzip").status == 413
            assert tracemalloc.get_traced_memory()[1] < 20 * MAX_BODY
        finally:
            tracemalloc.stop()
        assert sent(platform, zipped(bytes(100_000)) * 60, "gzip").status == 413

    def test_every_body_may_be_encoded(self, platform: Platform) -> None:
        path, _ = made(platform)
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
            ('application/json; x="; charset=latin-1"', 201),
            ("application/fhir+json; fhirVersion=3.0", 415),
            ("application/json; charset=utf-16", 415),
            ("application/json; charset=x-utf-8-like", 415),
            ("application/fhir+json, text/plain", 415),
            (";", 415),
        ],
    )
    def test_parameters(self, platform: Platform, content_type: str, status: int) -> None:
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
    def test_byte_order_marks(self, platform: Platform, data: bytes, status: int) -> None:
        assert sent(platform, data, "").status == status
        if status == 201:
            assert platform.call("POST", "/fhir/Patient", "\ufeff" + BODY.decode()).status == 201


class TestMethods:
    @pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=lambda r: r.operation)
    def test_head_is_get_without_a_body(self, route: object) -> None:
        replies = []
        for method in ("GET", "HEAD"):
            platform = Platform(probes=())
            path, etag = made(platform)
            at = route.path.format(id=path.rpartition("/")[2], vid=etag[3:-1], region="us-west-2")  # type: ignore[attr-defined]
            at = at.replace(path.rpartition("/")[2], "x") if "DocumentReference/" in at else at
            replies.append(platform.call(method, at))
            accesses = [(item["interaction"], item["outcome"], item["status"]) for item in platform.audit(action="R")]
            replies[-1].headers["accesses"] = str(sorted(accesses))
            platform.close()
        get, head = replies
        get.headers.pop("etag", None), head.headers.pop("etag", None)
        assert (head.status, head.headers, head.body) == (get.status, get.headers, "")
        assert get.body

    def test_head_needs_the_right_of_get(self, platform: Platform) -> None:
        path, _ = made(platform)
        reply = platform.call("HEAD", path, authorizer=claims(scope="system/Patient.cuds"))
        assert (reply.status, reply.body) == (403, "")

    @pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
    def test_options(self, platform: Platform, path: str) -> None:
        reply = platform.call("OPTIONS", path.format(id="1", vid="2", region="us-east-1"))
        assert (reply.status, reply.body) == (204, "")
        known = {route.method for route in ROUTES if route.path == path} | {"OPTIONS"}
        assert set(reply.headers["allow"].split(", ")) - {"HEAD"} == known
        assert ("accept-patch" in reply.headers) is ("PATCH" in known)
        assert not platform.dynamodb.calls

    def test_options_of_nothing(self, platform: Platform) -> None:
        assert platform.call("OPTIONS", "/nowhere").status == 404

    @pytest.mark.parametrize("method", ["POST", "TRACE"])
    def test_what_can_be_patched_says_how(self, platform: Platform, method: str) -> None:
        path, _ = made(platform)
        assert platform.call(method, path).headers["accept-patch"] == ", ".join(PATCH_BODY)
        assert "accept-patch" not in platform.call("PUT", "/fhir/Patient").headers

    @pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "", "application/xml-patch+xml"])
    def test_a_patch_of_an_unknown_kind(self, platform: Platform, content_type: str) -> None:
        path, etag = made(platform)
        reply = platform.call("PATCH", path, [], headers={"content-type": content_type, "if-match": etag})
        assert (reply.status, reply.headers["accept-patch"]) == (415, ", ".join(PATCH_BODY))
        other = platform.call("POST", "/fhir/Patient", "x", headers={"content-type": content_type})
        assert (other.status, "accept-patch" in other.headers) == (415, False)


@pytest.mark.parametrize(
    ("query", "status"), [("mode=full", 200), ("mode=normative", 400), ("mode=full&mode=full", 400)]
)
def test_the_statement_is_given_in_full(platform: Platform, query: str, status: int) -> None:
    assert platform.call("GET", "/fhir/metadata", authorizer={}, query=query).status == status

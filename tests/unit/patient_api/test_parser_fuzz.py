"""Fuzz the JSON parser and the whole API on fakes: any input is processed or rejected with a documented error.

In `make test-full` these are 4,000 and 3,000 cases.
"""

import base64
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patient_api.errors import Malformed
from patient_api.fhir.codec import dump, parse
from support.examples import examples
from unit.patient_api.fakes.api import Platform, Reply, event
from unit.patient_api.fhir.examples import example, plain

PARSED, CALLED = examples(100, 1000), examples(60, 600)
MARK = "Zubrowka"
PATIENT = {**plain(example("Patient")), "id": "{id}", "multipleBirthInteger": 2}
WHOLE = json.dumps(PATIENT).encode()

calling = settings(
    max_examples=CALLED, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


TEXT = st.text(max_size=20)
NUMBERS = st.from_regex(r"-?[0-9]{0,70}(\.[0-9]{0,20})?([eE][+-]?[0-9]{0,20})?", fullmatch=True)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
PIECES = str.split(
    r"""{ } [ ] , : " "a" \ \u0000 \ud800 \u00e9 null true NaN -0 1e9 é 🜁 {"a": 1.0 1.00 -Infinity "\" // /* '"""
)
TOKENS = st.lists(st.sampled_from([*PIECES, "\t", " ", "\ufeff", "\0"]) | NUMBERS, max_size=30).map("".join)


@st.composite
def mutated(draw: st.DrawFn, whole: bytes = WHOLE) -> bytes:
    """Generate a valid body with some bytes changed, removed, doubled or moved."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        piece = draw(st.one_of(st.binary(max_size=6), st.just(bytes(data[at : at + length])), NUMBERS.map(str.encode)))
        data[at : at + draw(st.sampled_from([0, length]))] = piece
    return bytes(data)


def texts(data: bytes) -> Any:
    """Return the value as the json module parses it, with numbers as texts."""
    return json.loads(data, parse_int=str, parse_float=str)


@pytest.mark.parametrize(
    "bodies",
    [
        st.binary(max_size=100),
        TOKENS.map(str.encode),
        st.builds(
            lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass"),
            JSON,
            st.booleans(),
        ),
        mutated(),
    ],
    ids=["bytes", "fragments", "json", "damaged patients"],
)
def test_any_body_is_parsed_or_rejected(bodies: st.SearchStrategy[bytes]) -> None:
    @settings(max_examples=PARSED, deadline=None, derandomize=True, database=None)
    @given(bodies)
    def fuzz(data: bytes) -> None:
        try:
            written = dump(parse(data))
        except Malformed:
            return
        assert texts(written.encode()) == texts(data)
        assert dump(parse(written.encode())) == written

    fuzz()


@st.composite
def replaced(draw: st.DrawFn, resource: dict[str, Any]) -> dict[str, Any]:
    """Generate a valid resource with some values replaced."""
    changed: dict[str, Any] = json.loads(json.dumps(resource))
    for _ in range(draw(st.integers(0, 3))):
        node: Any = changed
        while True:
            keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], (dict, list)) and draw(st.booleans()):
                node = node[key]
                continue
            node[key] = draw(JSON)
            break
    return changed


POINTERS = st.sampled_from(
    ["", *str.split("""/ /gender /gender/0 /gender/- /name/0/given/0 /name/0/given/- /name/- /name/-1 /name/00
    /name/0/family /name/0/family/0/0 /multipleBirthInteger/real /active/0 /id /meta /_birthDate
    /name/99999999999999999999 /telecom /~ /~01 /name/0/given/1/x /photo/0 /photo/0/size name""")]
)  # fmt: skip
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": POINTERS,
        "from": POINTERS,
        "value": st.sampled_from(["male", True, {"family": "Example"}, "1815-12-10"]) | JSON,
    }
)
PATCHES = st.lists(OPERATIONS, max_size=3) | st.lists(JSON, max_size=3) | JSON
BODIES = st.one_of(replaced(PATIENT), replaced(PATIENT), PATCHES, mutated(), st.binary(max_size=60), JSON, TEXT)
SEGMENTS = (
    st.sampled_from(["{id}", "{id}", "{id}", "{gone}", "0", "..", "%00", "", "a" * 65, MARK, "_history", "{id}#"])
    | TEXT
)
PATHS = st.one_of(
    st.sampled_from(["/fhir/Patient", "/fhir/Patient/_search", "/fhir/AuditEvent"]),
    st.builds("/fhir/Patient/{}".format, SEGMENTS),
    st.builds("/fhir/Patient/{}".format, SEGMENTS),
    st.builds("/fhir/Patient/{}/_history".format, SEGMENTS),
    st.builds("/fhir/Patient/{}/_history/{}".format, SEGMENTS, st.just("{version}") | TEXT),
    st.just("/fhir/metadata"),
    st.builds("/drain/{}".format, TEXT),
    TEXT,
)
VALUES = TEXT | NUMBERS | st.sampled_from(
    ["\0", MARK, "x." + "A" * 43, *str.split(r"""* 0 20 gt2000 2000-02-30 9999-12-31 0001 male | a|b|c \ ,,
    Patient/1 1e3 json xml _lastUpdated %ff é ٣ 2024-06-30T23:59:60Z 0001-01-01T00:00:00+14:00
    9999-12-31T23:59:59-14:00 W/"{version}" W/"0-0-x" return=minimal {version} 2024-01 handling=lenient gzip""")]
)  # fmt: skip
NAMES = st.sampled_from(
    str.split("""_id identifier name family given birthdate gender _lastUpdated _count _sort _cursor _format patient
    date agent outcome status type name:exact _has:x""")
)
QUERIES = st.one_of(
    st.just(""), st.lists(st.builds("{}={}".format, NAMES, VALUES), max_size=2).map("&".join), st.text(max_size=40)
)
MEDIA_TYPES = st.sampled_from(
    ["", "application/json; charset=utf-8", *str.split("""application/fhir+json application/json-patch+json
    application/merge-patch+json text/plain ;; é application/x-www-form-urlencoded""")]
)  # fmt: skip
HEADER_NAMES = (
    "if-match if-none-match if-modified-since if-none-exist idempotency-key prefer minimum-version merges accept "
    "content-type content-encoding"
)
HEADERS = st.dictionaries(st.sampled_from(str.split(HEADER_NAMES)), VALUES | MEDIA_TYPES | QUERIES, max_size=3)
METHODS = st.sampled_from(["GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "get", "X"])


def sent(body: object) -> tuple[str, bool]:
    """Return the body as the gateway passes it on: text, or base64 for bytes that are no text."""
    if isinstance(body, bytes):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            return base64.b64encode(body).decode(), True
    return "" if body is None else body if isinstance(body, str) else json.dumps(body), False


def call(platform: Platform, method: str, path: str, query: str, headers: dict[str, str], body: object) -> Reply:
    """Call a platform that has one patient and a deleted one, and check the invariants of every response."""
    there = platform.create(PATIENT | {"id": "0"}).json
    gone = platform.create().json["id"]
    platform.call("DELETE", f"/fhir/Patient/{gone}")
    known = {"{id}": there["id"], "{gone}": gone, "{version}": there["meta"]["versionId"]}

    def filled(text: str) -> str:
        for name, value in known.items():
            text = text.replace(name, value)
        return text

    text, encoded = sent(body)
    before = dict(platform.records)
    headers = {name: filled(value) for name, value in headers.items()}
    happened = event(method, filled(path), filled(text), headers=headers, query=filled(query), encoded=encoded)
    reply = Reply(platform.api(happened, None))
    assert not [line for line in platform.log.messages() if line["level"] == "ERROR"], platform.log.getvalue()
    assert MARK not in platform.log.getvalue()
    assert reply.status < 500 or (reply.status == 503 and "minimum-version" in headers), reply.body
    if reply.status >= 400:
        assert platform.records == before
        assert MARK not in reply.body
        if not path.startswith("/drain/") and method != "HEAD":
            assert reply.json["resourceType"] == "OperationOutcome"
    assert not [value for value in reply.headers.values() if not value.isprintable()]
    return reply


Call = tuple[str, str, str, dict[str, str], object]
CURRENT = st.sampled_from([{"if-match": 'W/"{version}"'}] * 3 + [{"if-match": 'W/"0"'}])
TYPE = st.just("/fhir/Patient")
BY_ID = st.sampled_from(["_id={id}"] * 3 + ["_id={gone}"]) | st.builds("_id={{id}}&{}".format, QUERIES)
CALLS: dict[str, tuple[st.SearchStrategy[Call], set[int]]] = {
    "anything": (st.tuples(METHODS, PATHS, st.just("") | QUERIES, HEADERS, st.none() | BODIES), {200, 400, 404, 405}),
    "creations": (
        st.tuples(st.just("POST"), st.just("/fhir/Patient"), st.just(""), st.just({}) | HEADERS, replaced(PATIENT)),
        {201, 400, 415, 422},
    ),
    "updates": (
        st.tuples(
            st.just("PUT"), st.just("/fhir/Patient/{id}"), st.just(""), CURRENT, replaced(PATIENT) | mutated()
        ),
        {200, 400, 412, 422},
    ),
    "patches": (
        st.tuples(
            st.just("PATCH"),
            st.just("/fhir/Patient/{id}"),
            st.just(""),
            CURRENT.map(lambda headers: headers | {"content-type": "application/json-patch+json"}),
            PATCHES,
        ),
        {200, 400, 412, 422},
    ),
    "merges": (
        st.tuples(
            st.just("PATCH"),
            st.just("/fhir/Patient/{id}"),
            st.just(""),
            (CURRENT | st.just({})).map(lambda headers: headers | {"content-type": "application/merge-patch+json"}),
            st.dictionaries(st.sampled_from(sorted(PATIENT)), st.none() | JSON, max_size=2) | replaced(PATIENT) | JSON,
        ),
        {200, 400, 412, 422},
    ),
    "conditional changes": (
        st.one_of(
            st.tuples(
                st.just("PUT"), TYPE, BY_ID, st.just({}) | CURRENT, st.just(PATIENT) | replaced(PATIENT) | mutated()
            ),
            st.tuples(
                st.just("PATCH"),
                TYPE,
                BY_ID,
                st.just({"content-type": "application/merge-patch+json"}),
                st.just({"active": True}) | JSON,
            ),
            st.tuples(st.just("DELETE"), TYPE, BY_ID, st.just({}) | CURRENT, st.none()),
        ),
        {200, 204, 400, 412},
    ),
    "validations": (
        st.tuples(
            st.just("POST"),
            st.sampled_from(["/fhir/Patient/$validate", "/fhir/Patient/{id}/$validate"]),
            st.just("") | QUERIES,
            st.just({}),
            replaced(PATIENT) | mutated() | JSON,
        ),
        {200, 400},
    ),
    "searches": (
        st.tuples(
            st.just("GET"),
            st.sampled_from(["/fhir/Patient", "/fhir/AuditEvent", "/fhir/DocumentReference"]),
            QUERIES,
            st.just({}),
            st.none(),
        ),
        {200, 400, 406},
    ),
}  # fmt: skip


@pytest.mark.requirement("C5")
@pytest.mark.parametrize("kind", CALLS)
def test_any_call_succeeds_or_returns_a_documented_error(kind: str) -> None:
    made, expected = CALLS[kind]
    met: Counter[int] = Counter()

    @calling
    @given(made)
    def fuzz(parts: Call) -> None:
        platform = Platform()
        met[call(platform, *parts).status] += 1
        platform.close()

    fuzz()
    assert met.total() >= CALLED
    # The calls must reach beyond the first checks.
    assert expected <= met.keys(), met

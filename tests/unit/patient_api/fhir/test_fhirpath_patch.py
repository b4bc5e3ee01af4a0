"""FHIRPath Patch, as defined by R4."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patient_api.errors import Malformed, Unprocessable
from patient_api.fhir.codec import MAX_DEPTH, Number, dump, parse
from patient_api.fhir.fhirpath_patch import apply
from patient_api.fhir.patch import MAX_OPERATIONS
from unit.patient_api.fakes.api import Platform
from unit.patient_api.fhir.examples import applied, example, plain, read, resource_of

RESOURCE: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "a",
    "meta": {"versionId": "1"},
    "contained": [{"resourceType": "Organization", "id": "o", "name": "Org", "alias": ["x"]}],
    "extension": [{"url": "urn:a", "valueDecimal": 1.5}, {"url": "urn:b", "valueString": "secret"}],
    "active": True,
    "name": [
        {"use": "official", "family": "Example", "given": ["Ada", "Bea", "Cora"]},
        {"use": "usual", "family": "It's", "given": ["Dora"], "period": {"start": "2001"}},
    ],
    "gender": "female",
    "_gender": {"extension": [{"url": "urn:x", "valueBoolean": True}]},
    "birthDate": "1970-01-01",
    "deceasedBoolean": False,
    "telecom": [{"system": "phone", "rank": 1}, {"system": "email", "rank": 2}, {"system": "sms", "rank": 3}],
    "address": [{"line": ["1", None], "_line": [None, {"id": "x"}]}],
    "contact": [{"name": {"family": "Next"}, "gender": "male"}],
}


def operation(kind: str, path: str, **parts: Any) -> dict[str, Any]:
    """Return an operation. A part is an index for an int, a valueString for a str, and any value for a dict."""
    listed: list[dict[str, Any]] = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    for name, part in parts.items():
        value = {"valueInteger": part} if isinstance(part, int) else {"valueString": part}
        listed.append({"name": name, **(part if isinstance(part, dict) else value)})
    return {"name": "operation", "part": listed}


def patched(*operations: Any, resource: dict[str, Any] = RESOURCE) -> Any:
    return applied(apply, resource, {"resourceType": "Parameters", "parameter": [*operations]})


@pytest.mark.parametrize(
    ("change", "way", "expected"),
    [
        (operation("add", "Patient", name="maritalStatus", value={"valueCodeableConcept": {"text": "M"}}),
         "maritalStatus", {"text": "M"}),
        (operation("add", "Patient", name="telecom", value={"valueContactPoint": {"system": "url"}}),
         "telecom/3", {"system": "url"}),
        (operation("add", "Patient.name.first()", name="given", value={"valueString": "Eva"}), "name/0/given/3", "Eva"),
        (operation("add", "Patient.name[1].period", name="end", value={"valueDateTime": "2002"}),
         "name/1/period", {"start": "2001", "end": "2002"}),
        (operation("add", "Patient", name="multipleBirth", value={"valueInteger": 2}), "multipleBirthInteger", 2),
        (operation("add", "Patient", name="contact", value={"part": [
            {"name": "name", "valueHumanName": {"text": "N"}},
            {"name": "telecom", "valueContactPoint": {"system": "phone"}},
            {"name": "telecom", "valueContactPoint": {"system": "email"}},
            {"name": "extension", "part": [
                {"name": "url", "valueUri": "urn:y"}, {"name": "value", "valueBoolean": True}]},
        ]}), "contact/1", {"name": {"text": "N"}, "telecom": [{"system": "phone"}, {"system": "email"}],
                           "extension": [{"url": "urn:y", "valueBoolean": True}]}),
        (operation("add", "Patient", name="contained", value={"resource": {"resourceType": "Location"}}),
         "contained/1", {"resourceType": "Location"}),
        (operation("add", "Patient.contained[0]", name="alias", value={"valueString": "y"}),
         "contained/0/alias", ["x", "y"]),
        (operation("add", "Patient.contained[0]", name="active", value={"valueBoolean": True}),
         "contained/0/active", True),
        (operation("insert", "Patient.name[0].given", index=1, value={"valueString": "Eva"}),
         "name/0/given", ["Ada", "Eva", "Bea", "Cora"]),
        (operation("insert", "Patient.name[0].given", index=3, value={"valueString": "Eva"}), "name/0/given/3", "Eva"),
        (operation("insert", "Patient.photo", index=0, value={"valueAttachment": {"title": "x"}}),
         "photo", [{"title": "x"}]),
        (operation("replace", "Patient.birthDate", value={"valueDate": "1971"}), "birthDate", "1971"),
        (operation("replace", "birthDate", value={"valueDate": "1971"}), "birthDate", "1971"),
        (operation("replace", "Patient.name[1]", value={"valueHumanName": {"text": "x"}}), "name/1", {"text": "x"}),
        (operation("replace", "Patient.name.where(use = 'usual').given", value={"valueString": "x"}),
         "name/1/given", ["x"]),
        (operation("replace", "Patient.name.where(family='It\\'s' and period.start = '2001').use",
                   value={"valueCode": "old"}), "name/1/use", "old"),
        (operation("replace", "Patient.telecom.where(rank = 2).system", value={"valueCode": "fax"}),
         "telecom/1/system", "fax"),
        (operation("replace", "Patient.telecom.last().rank", value={"valuePositiveInt": 9}), "telecom/2/rank", 9),
        (operation("replace", "Patient.extension('urn:b').value", value={"valueCode": "x"}),
         "extension/1", {"url": "urn:b", "valueCode": "x"}),
        (operation("replace", "Patient.contact.where(gender = 'male').name.family", value={"valueString": "x"}),
         "contact/0/name/family", "x"),
        (operation("move", "Patient.telecom", source=0, destination=2), "telecom",
         [{"system": "email", "rank": 2}, {"system": "sms", "rank": 3}, {"system": "phone", "rank": 1}]),
        (operation("move", "Patient.name[0].given", source=2, destination=0), "name/0/given", ["Cora", "Ada", "Bea"]),
    ],
)  # fmt: skip
def test_operation_changes_only_its_element(change: dict[str, Any], way: str, expected: object) -> None:
    result: Any = patched(change)
    parts = way.split("/")
    assert result.keys() - RESOURCE.keys() <= {parts[0]}
    for name in RESOURCE.keys() - {parts[0]}:
        assert result[name] == RESOURCE[name]
    for part in parts:
        result = result[int(part) if isinstance(result, list) else part]
    assert result == expected


@pytest.mark.parametrize(
    ("path", "gone", "left"),
    [
        ("Patient.birthDate", ["birthDate"], {}),
        ("Patient.gender", ["gender", "_gender"], {}),
        ("Patient.deceased", ["deceasedBoolean"], {}),
        ("Patient.contact", ["contact"], {}),
        ("Patient.name.where(use = 'old')", [], {}),
        ("Patient.maritalStatus", [], {}),
        ("Patient.name[7].given[2]", [], {}),
        ("Patient.name.given[3]", [], {"name": [RESOURCE["name"][0], {
            "use": "usual", "family": "It's", "period": {"start": "2001"}}]}),
        ("Patient.telecom[1]", [], {"telecom": [RESOURCE["telecom"][0], RESOURCE["telecom"][2]]}),
        ("Patient.extension.where(url = 'urn:a' and value = 1.5)", [], {"extension": [RESOURCE["extension"][1]]}),
    ],
)  # fmt: skip
def test_delete_removes_only_its_element(path: str, gone: list[str], left: dict[str, Any]) -> None:
    expected = {name: item for name, item in RESOURCE.items() if name not in gone} | left
    assert patched(operation("delete", path)) == expected


def test_choice_element_is_replaced_by_another_type() -> None:
    result = patched(operation("replace", "Patient.deceased", value={"valueDateTime": "2020"}))
    assert (result.get("deceasedBoolean"), result["deceasedDateTime"]) == (None, "2020")


def test_operations_apply_in_order() -> None:
    result = patched(
        operation("delete", "Patient.contact"),
        operation("add", "Patient", name="contact", value={"part": [{"name": "gender", "valueCode": "other"}]}),
        operation("replace", "Patient.contact[0].gender", value={"valueCode": "female"}),
    )
    assert result["contact"] == [{"gender": "female"}]


def test_numbers_keep_their_digits() -> None:
    document = (
        b'{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"replace"},'
        b'{"name":"path","valueString":"Patient.extension(\'urn:a\').value"},{"name":"value","valueDecimal":2.500}]}]}'
    )
    before = resource_of(RESOURCE)
    assert '"valueDecimal":2.500' in dump(apply(before, parse(document)))


STRING = {"valueString": "secret"}


@pytest.mark.parametrize(
    "change",
    [
        operation("add", "Patient", name="birthDate", value={"valueDate": "1971"}),
        operation("add", "Patient", name="deceased", value={"valueDateTime": "1971"}),
        operation("add", "Patient", name="deceased", value=STRING),
        operation("add", "Patient", name="secret", value=STRING),
        operation("add", "Patient", name="", value=STRING),
        operation("add", "Patient", name="_birthDate", value=STRING),
        operation("add", "Patient.name", name="given", value=STRING),
        operation("add", "Patient.birthDate", name="x", value=STRING),
        operation("add", "Patient.name.where(family = 'secret')", name="given", value=STRING),
        operation("add", "Patient.address[0]", name="line", value=STRING),
        operation("add", "Observation", name="status", value=STRING),
        operation("add", "Patient", name="contact", value={"part": [{"name": "gender", "valueCode": "x"}] * 2}),
        operation("add", "Patient", name="contact", value={"part": [{"name": "secret", "valueCode": "x"}]}),
        operation("add", "Patient", name="birthDate", value={"part": [{"name": "x", "valueCode": "x"}]}),
        operation("insert", "Patient.name[0].given", index=4, value=STRING),
        operation("insert", "Patient.birthDate", index=0, value=STRING),
        operation("insert", "Patient.name[0]", index=0, value=STRING),
        operation("insert", "Patient.name.given", index=0, value=STRING),
        operation("insert", "Patient.address[0].line", index=0, value=STRING),
        operation("insert", "Patient", index=0, value=STRING),
        operation("move", "Patient.telecom", source=3, destination=0),
        operation("move", "Patient.telecom", source=0, destination=3),
        operation("move", "Patient.photo", source=0, destination=0),
        operation("delete", "Patient.name"),
        operation("delete", "Patient.secret"),
        operation("delete", "Patient.address.line[0]"),
        operation("delete", "Patient.birthDate.extension"),
        operation("delete", "Patient"),
        operation("replace", "Patient.name", value=STRING),
        operation("replace", "Patient.maritalStatus", value=STRING),
        operation("replace", "Patient.deceased", value=STRING),
        *[operation("delete", f"Patient.{name}") for name in ("id", "meta", "meta.versionId", "resourceType")],
        *[operation("replace", f"Patient.{name}", value=STRING) for name in ("id", "meta", "meta.versionId")],
        operation("add", "Patient.meta", name="tag", value={"valueCoding": {"code": "x"}}),
        operation("insert", "Patient.meta.tag", index=0, value={"valueCoding": {"code": "x"}}),
        *[
            operation("delete", path)
            for path in (
                "", "Patient.", ".name", "Patient..name", "Patient.name[", "Patient.name[-1]", "Patient.name[x]",
                "Patient.name['0']", "Patient.name.first(", "Patient.name.first(1)", "Patient.name.tail()",
                "Patient.name.where()", "Patient.name.where(use)", "Patient.name.where(use = )",
                "Patient.name.where(use = usual)", "Patient.name.where(use = 'x' or use = 'y')", "Patient.name | x",
                "Patient.name.where(use != 'x')", "Patient.name.where(use = 'x)", "Patient name", "Patient.name;",
                "resolve()", "Patient.name.extension(1 2)", "x" * 1025, "Patient.name[1.5]", "9", "'Patient'",
            )
        ],
    ],
)  # fmt: skip
def test_inapplicable_operation_is_rejected_without_quoting_values(change: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable) as raised:
        patched(change)
    assert "secret" not in str(raised.value)
    assert "Operation 0" in str(raised.value)


def without(part: str) -> dict[str, Any]:
    whole = operation("add", "Patient", name="gender", value={"valueCode": "male"})
    return {**whole, "part": [each for each in whole["part"] if each["name"] != part]}


NO_OPERATIONS: list[Any] = [
    None, 1, "x", [], {}, {"name": "operation"}, {"name": "operation", "part": []},
    {"name": "other", "part": operation("delete", "Patient.gender")["part"]},
    {"name": "operation", "part": [None]}, {"name": "operation", "part": [{"valueCode": "add"}]},
    *map(without, ("type", "path", "name", "value")),
    operation("append", "Patient"), operation("delete", "Patient.name", index=0),
    operation("insert", "Patient.name", value=STRING), operation("move", "Patient.name", source=0),
    operation("insert", "Patient.name", value=STRING, index=-1),
    operation("insert", "Patient.name", value=STRING, index={"valueInteger": 0.5}),
    operation("insert", "Patient.name", value=STRING, index={"valueString": "0"}),
    operation("add", "Patient", name={"valueInteger": 1}, value=STRING),
    operation("add", "Patient", name="x", value={}),
    operation("add", "Patient", name="x", value={"valueString": "a", "valueCode": "b"}),
    operation("add", "Patient", name="x", value={"value": "a"}),
    {"name": "operation", "part": [{"name": "type", "valueString": "add"}]},
    {"name": "operation", "part": operation("delete", "Patient.gender")["part"] * 2},
]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        {}, [], None, "x", {"resourceType": "Patient"}, {"resourceType": "Parameters"},
        {"resourceType": "Parameters", "parameter": {}}, {"resourceType": "Parameters", "parameter": [], "x": 1},
        *[{"resourceType": "Parameters", "parameter": [change]} for change in NO_OPERATIONS],
    ],
)  # fmt: skip
def test_invalid_document_is_malformed(document: object) -> None:
    before = resource_of(RESOURCE)
    with pytest.raises(Malformed):
        apply(before, read(document))


def test_too_many_operations_are_rejected() -> None:
    one = operation("delete", "Patient.maritalStatus")
    patched(*[one] * MAX_OPERATIONS)
    with pytest.raises(Unprocessable):
        patched(*[one] * (MAX_OPERATIONS + 1))


def test_result_nested_too_deep_is_rejected() -> None:
    deep: Any = {"url": "x", "valueString": "y"}
    for _ in range((MAX_DEPTH - 10) // 2):
        deep = {"url": "x", "extension": [deep]}
    one = operation("add", "Patient", name="extension", value={"valueExtension": deep})
    assert patched(one)["extension"][2] == deep
    way = "Patient.contact[0].name.extension[0]" + ".extension[0]" * 10
    nested: Any = {"url": "x"}
    for _ in range(10):
        nested = {"url": "x", "extension": [nested]}
    first = operation("add", "Patient.contact[0].name", name="extension", value={"valueExtension": nested})
    with pytest.raises(Unprocessable, match="deeper"):
        patched(first, operation("add", way, name="extension", value={"valueExtension": deep}))


PATHS = st.sampled_from(
    ["Patient", "Patient.name", "Patient.name[0]", "Patient.name[0].given", "Patient.name.given[0]", "Patient.deceased",
     "Patient.extension.value", "Patient.contact.name", "Patient.contained[0].alias", "Patient.telecom.where(rank = 1)",
     "Patient.address.line", "Patient.photo", "Patient.contact[0].extension", "(", "Patient.text"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["x", "male", "urn:x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "part", "valueString", "valueCode", "given", "url", "extension"]), inner
        )
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(["name", "given", "deceased", "value", "url", "extension", "alias", "contact", "photo", "line"])
KINDS = st.sampled_from(["valueString", "valueHumanName", "part", "resource", "valueBoolean"])
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.builds(lambda name: {"valueString": name}, NAMES),
        "value": st.builds(lambda kind, value: {kind: value}, KINDS, JSON),
        "index": st.integers(-1, 4),
        "source": st.integers(0, 4),
        "destination": st.integers(0, 4),
    },
)  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["add", "insert", "delete", "replace", "move"]))
    wanted = {"add": ("name", "value"), "insert": ("value", "index"), "replace": ("value",),
              "move": ("source", "destination")}.get(kind, ())  # fmt: skip
    parts = draw(PARTS)
    if draw(st.booleans()):
        parts = {name: parts[name] for name in wanted if name in parts}
    return operation(kind, draw(PATHS), **parts)


@given(st.lists(changes(), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_patch_is_applied_or_rejected(operations: list[dict[str, Any]]) -> None:
    try:
        after = patched(*operations)
    except (Malformed, Unprocessable):
        return
    assert {name: after[name] for name in ("id", "meta", "resourceType")} == {
        name: RESOURCE[name] for name in ("id", "meta", "resourceType")
    }
    parse(json.dumps(after).encode())


@pytest.mark.timeout(5)
@pytest.mark.parametrize("number", ["1e400", "1e50000", "1.0", "1e0", "0.0", "-0", "-1", "1" + "0" * 40])
@pytest.mark.parametrize("kind", ["insert", "move"])
def test_index_must_be_a_short_whole_number(number: str, kind: str) -> None:
    before = resource_of(RESOURCE)
    index = {"valueInteger": Number(number)}
    zero = {"valueInteger": Number("0")}
    places = {"index": index, "value": STRING} if kind == "insert" else {"source": index, "destination": zero}
    change = operation(kind, "Patient.name[0].given", **places)
    with pytest.raises(Malformed, match="invalid index"):
        apply(before, {"resourceType": "Parameters", "parameter": [change]})


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("It's", r"'It\'s'"),
        ("It's", r"'\u0049t\u0027s'"),
        ("a\n\t\r\f", r"'a\n\t\r\f'"),
        ('\\u0041/`"', r"""'\\u0041\/\`\"'"""),
        ("\U0001f600", r"'\ud83d\uDE00'"),
    ],
)
def test_escapes_in_string_literals_are_decoded(text: str, literal: str) -> None:
    resource = {"resourceType": "Patient", "name": [{"family": "Other"}, {"family": text}]}
    change = operation("delete", f"Patient.name.where(family = {literal})")
    assert patched(change, resource=resource)["name"] == [{"family": "Other"}]


@pytest.mark.parametrize("literal", [r"'\a'", r"'\u00'", r"'\u00g1'", r"'\x41'", r"'\ud83d'", r"'\U0041'"])
def test_invalid_escape_is_rejected(literal: str) -> None:
    with pytest.raises(Unprocessable, match="not understood"):
        patched(operation("delete", f"Patient.name.where(family = {literal})"))


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "text", ["(" * 1000, "'" + "\\" * 1000, "a." * 500, "[" * 1000, "a" * 1024, "' " * 500, " " * 1024]
)
def test_long_paths_are_parsed_in_limited_time(text: str) -> None:
    with pytest.raises(Unprocessable):
        patched(*[operation("delete", text)] * MAX_OPERATIONS)


def test_path_can_reach_every_element_of_the_profile() -> None:
    whole = plain(example("Patient"))
    for name in whole:
        if name.startswith("_") or name in {"id", "meta", "resourceType"} or f"_{name}" in whole:
            continue
        path = {"deceasedDateTime": "deceased", "multipleBirthInteger": "multipleBirth"}.get(name, name)
        result = patched(operation("delete", f"Patient.{path}[0]"), resource=copy.deepcopy(whole))
        assert result != whole, name


@pytest.mark.parametrize("content_type", ["application/fhir+json", "application/json"])
def test_fhirpath_patch_over_http_updates_the_record(platform: Platform, content_type: str) -> None:
    path, etag = platform.made(gender="female")
    body = {
        "resourceType": "Parameters",
        "parameter": [operation("replace", "Patient.gender", value={"valueCode": "x"})],
    }
    headers = {"content-type": content_type}
    assert platform.call("PATCH", path, body, headers=headers).status == 422
    body["parameter"] = [operation("replace", "Patient.gender", value={"valueCode": "other"})]
    assert platform.call("PATCH", path, body, headers={**headers, "if-match": 'W/"1"'}).status == 412
    reply = platform.call("PATCH", path, body, headers={**headers, "if-match": etag})
    assert (reply.status, reply.json["gender"]) == (200, "other")
    assert platform.call("PATCH", path, {"resourceType": "Patient"}, headers=headers).status in {200, 400}
    statement = platform.call("GET", "/fhir/metadata").json
    assert content_type in statement["patchFormat"]

"""JSON Patch."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.errors import Malformed, Unprocessable
from patient_api.fhir.codec import MAX_DEPTH, JsonValue, dump, parse
from patient_api.fhir.patch import MAX_OPERATIONS, MAX_WEIGHT, apply
from unit.patient_api.fhir.examples import applied

RESOURCE = (
    '{"resourceType":"Patient","id":"a","meta":{"versionId":"1"},"active":true,'
    '"name":[{"family":"Example","given":["Ada"]}],"extension":[{"url":"x","valueDecimal":1.50}],"a/b":{"m~n":"x"}}'
)


def resource() -> dict[str, JsonValue]:
    value = parse(RESOURCE.encode())
    assert isinstance(value, dict)
    return value


def patched(*operations: Any) -> Any:
    return applied(apply, json.loads(RESOURCE), operations)


def op(name: str, path: str, value: object = ..., **members: object) -> dict[str, object]:
    return {"op": name, "path": path, **({} if value is ... else {"value": value}), **members}


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (op("add", "/gender", "female"), {"gender": "female"}),
        (op("add", "/active", False), {"active": False}),
        (op("add", "/name/0", {"text": "x"}), {"name": [{"text": "x"}, {"family": "Example", "given": ["Ada"]}]}),
        (op("add", "/name/-", {"text": "x"}), {"name": [{"family": "Example", "given": ["Ada"]}, {"text": "x"}]}),
        (op("add", "/a~1b/m~0n", "y"), {"a/b": {"m~n": "y"}}),
        (op("add", "/a~1b/~01", None), {"a/b": {"m~n": "x", "~1": None}}),
        (op("remove", "/name/0/given"), {"name": [{"family": "Example"}]}),
        (op("replace", "/name/0/given/0", "B"), {"name": [{"family": "Example", "given": ["B"]}]}),
        (op("move", "/active", **{"from": "/name/0/family"}), {"active": "Example", "name": [{"given": ["Ada"]}]}),
        (op("copy", "/language", **{"from": "/meta/versionId"}), {"language": "1"}),
        (op("test", "/meta/versionId", "1"), {}),
        (op("test", "/active", True), {}),
        (op("test", "/extension/0/valueDecimal", 1.5), {}),
        (op("test", "", json.loads(RESOURCE)), {}),
        (op("test", "/name/0", {"given": ["Ada"], "family": "Example"}), {}),
        (op("add", "/gender", "x", unknown="member"), {"gender": "x"}),
    ],
)
def test_operation_changes_only_its_path(operation: dict[str, object], expected: dict[str, object]) -> None:
    assert patched(operation) == {**json.loads(RESOURCE), **expected}


def test_operations_apply_in_order() -> None:
    result = patched(
        op("add", "/telecom", []),
        op("add", "/telecom/-", {"system": "phone"}),
        op("copy", "/telecom/-", **{"from": "/telecom/0"}),
        op("replace", "/telecom/0/system", "email"),
        op("test", "/telecom", [{"system": "email"}, {"system": "phone"}]),
    )
    assert result["telecom"] == [{"system": "email"}, {"system": "phone"}]


def test_numbers_keep_their_digits() -> None:
    before = resource()
    document = (
        b'[{"op":"add","path":"/extension/-","value":{"url":"y","valueDecimal":2.500}},'
        b'{"op":"copy","from":"/extension/0","path":"/extension/-"}]'
    )
    assert dump(apply(before, parse(document))["extension"]) == (
        '[{"url":"x","valueDecimal":1.50},{"url":"y","valueDecimal":2.500},{"url":"x","valueDecimal":1.50}]'
    )


def test_failed_test_rejects_the_whole_patch() -> None:
    with pytest.raises(Unprocessable, match=r"Operation 1 of the patch \(test\) does not hold\."):
        patched(op("remove", "/active"), op("test", "/active", True))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"op": "remove", "path": "/active"},
        "x",
        None,
        [1],
        [None],
        ["remove"],
        [[]],
        [{}],
        [{"op": "remove"}],
        [{"path": "/active"}],
        [op("append", "/active", "x")],
        [op("Remove", "/active")],
        [{"op": ["remove"], "path": "/active"}],
        [{"op": {}, "path": "/active"}],
        [op("add", "/active")],
        [op("replace", "/active")],
        [op("test", "/active")],
        [op("move", "/active")],
        [op("copy", "/active")],
        [op("copy", "/active", **{"from": 1})],
        [op("copy", "/active", **{"from": "name"})],
        [op("remove", "active")],
        [op("remove", "/a~2")],
        [op("remove", "/a~")],
        [{"op": "remove", "path": None}],
        [{"op": "remove", "path": ["active"]}],
        [op("remove", "/active"), 1],
    ],
)
def test_invalid_document_is_malformed(document: object) -> None:
    with pytest.raises(Malformed):
        apply(resource(), parse(json.dumps(document).encode()))


@pytest.mark.parametrize(
    "operation",
    [
        op("remove", "/secret"),
        op("remove", "/name/1"),
        op("remove", "/name/-"),
        op("remove", "/name/01"),
        op("remove", "/name/-1"),
        op("remove", "/name/secret"),
        op("remove", "/active/secret"),
        op("remove", f"/name/{'9' * 5000}"),
        op("replace", "/secret", 1),
        op("replace", "/name/-", 1),
        op("replace", f"/name/{2**64}", 1),
        op("add", "/secret/x", 1),
        op("add", "/name/2", 1),
        op("add", "/name/0/family/x", 1),
        op("add", "/name/-/family", 1),
        op("copy", "/x", **{"from": "/secret"}),
        op("copy", "/x", **{"from": "/name/-"}),
        op("move", "/x", **{"from": "/secret"}),
        op("move", "/name/0/x", **{"from": "/name"}),
        op("test", "/secret", None),
        op("test", "/name/-", None),
        op("test", "/active", 1),
        op("test", "/active", "secret"),
        op("test", "/extension/0/valueDecimal", "1.50"),
        op("test", "/extension/0/valueDecimal", 1.51),
    ],
)
def test_inapplicable_operation_is_rejected_without_quoting_values(operation: dict[str, object]) -> None:
    with pytest.raises(Unprocessable) as raised:
        patched(operation)
    assert "secret" not in str(raised.value)
    assert "Example" not in str(raised.value)


@pytest.mark.parametrize("path", ["", "/id", "/resourceType", "/meta", "/meta/versionId", "/meta/tag"])
@pytest.mark.parametrize("name", ["add", "remove", "replace", "move", "copy"])
def test_changing_server_elements_is_rejected(name: str, path: str) -> None:
    members = {"from": "/active"} if name in {"move", "copy"} else {}
    with pytest.raises(Unprocessable, match="changes the id"):
        patched(op(name, path, "x", **members))


@pytest.mark.parametrize("path", ["", "/id", "/resourceType", "/meta/versionId"])
def test_moving_server_elements_is_rejected(path: str) -> None:
    with pytest.raises(Unprocessable, match="changes the id"):
        patched(op("move", "/x", **{"from": path}))


def test_too_many_operations_are_rejected() -> None:
    patched(*[op("test", "/active", True)] * MAX_OPERATIONS)
    with pytest.raises(Unprocessable):
        patched(*[op("test", "/active", True)] * (MAX_OPERATIONS + 1))


@pytest.mark.timeout(10)
def test_exponential_copies_are_rejected() -> None:
    with pytest.raises(Unprocessable, match="too large"):
        patched(
            op("add", "/x", [["Ada"] * 10]),
            *[op("copy", "/x/-", **{"from": "/x"})] * (MAX_OPERATIONS - 1),
        )


def test_removed_copies_count_towards_the_limit() -> None:
    large = "x" * (MAX_WEIGHT // 10)
    again = [op("copy", "/y", **{"from": "/x"}), op("remove", "/y")]
    with pytest.raises(Unprocessable, match="too large"):
        patched(op("add", "/x", large), *again * 9)
    patched(op("add", "/x", large), *again * 8)


@pytest.mark.parametrize("name", ["copy", "move"])
def test_result_nested_too_deep_is_rejected(name: str) -> None:
    """The depth of the path and of the value are each within the limit, but not their sum."""
    half: object = []
    for _ in range(MAX_DEPTH // 2):
        half = [half]
    way = "/x" + "/0" * (MAX_DEPTH // 2)
    with pytest.raises(Unprocessable, match="deeper"):
        patched(op("add", "/x", half), op("add", "/y", half), op(name, f"{way}/-", **{"from": "/y"}))


PATHS = st.sampled_from(
    ["", "/", "/active", "/name", "/name/0", "/name/-", "/name/0/given/0", "/extension/0/x", "x", "/~"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab~/"),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("ab"), inner),
)
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]) | VALUES,
        "path": PATHS | VALUES,
        "from": PATHS | VALUES,
        "value": VALUES,
    },
)


@given(st.lists(OPERATIONS | VALUES, max_size=5))
def test_any_document_is_applied_or_rejected(document: list[object]) -> None:
    before = resource()
    try:
        after = apply(before, parse(json.dumps(document).encode()))
    except (Malformed, Unprocessable):
        pass
    else:
        assert {name: after[name] for name in ("id", "meta", "resourceType")} == {
            "id": "a",
            "meta": {"versionId": "1"},
            "resourceType": "Patient",
        }
        parse(dump(after).encode())
    assert dump(before) == RESOURCE

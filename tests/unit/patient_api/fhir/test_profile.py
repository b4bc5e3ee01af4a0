"""The compiled profile accepts and rejects the same resources as its JSON Schemas in a reference validator."""

import copy
import json
import re
import runpy
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import patient_api.fhir.profile
from patient_api.errors import Unprocessable
from patient_api.fhir.codec import MAX_DEPTH, JsonValue, dump, parse
from patient_api.fhir.profile import validate
from patient_api.fhir.profile.invariants import FORMATS
from unit.patient_api.fhir.examples import example, plain, problem_in, read, resource_of

TYPES = {"Patient": "patient", "DocumentReference": "document_reference"}
PROFILE = Path(patient_api.fhir.profile.__file__).parent
COMPILER = Path(__file__).parents[4] / "tools" / "fhir_profile.py"
# Problems that JSON Schema cannot express.
BEYOND_JSON_SCHEMA = re.compile(
    "must be of one type only|must have |must not end before|must be as long as|"
    # null in a list of primitives, or of their extensions, where the other list has nothing either
    r"\[\d+\] must be (an object|a string|a canonical)"
)


def table(kind: str) -> Any:
    return json.loads((PROFILE / "compiled" / f"{TYPES[kind]}.json").read_text())


@cache
def reference_validator(kind: str) -> Any:
    def load(name: str, prefix: str) -> Any:
        text = (PROFILE / f"{name}.schema.json").read_text()
        text = text.replace('"#/definitions/', f'"#/definitions/{prefix}')
        return json.loads(text.replace('"datatypes.schema.json#/definitions/', '"#/definitions/datatypes/definitions/'))

    schema = load(TYPES[kind], "")
    schema["definitions"]["datatypes"] = load("datatypes", "datatypes/definitions/")
    return fastjsonschema.compile(schema, formats=FORMATS)


def accepted_reference_validator(resource: dict[str, JsonValue]) -> bool:
    try:
        reference_validator(str(resource["resourceType"]))(plain(resource))
    except fastjsonschema.JsonSchemaValueException:
        return False
    return True


def test_compiled_profile_is_current() -> None:
    """`python tools/fhir_profile.py` updates it."""
    for path, text in runpy.run_path(str(COMPILER))["compiled"]().items():
        assert path.read_text() == text


@pytest.mark.parametrize("kind", TYPES)
def test_reference_validator_accepts_the_example(kind: str) -> None:
    assert accepted_reference_validator(example(kind))


@pytest.mark.parametrize("kind", TYPES)
def test_every_primitive_may_have_extensions(kind: str) -> None:
    types = table(kind)["types"]
    for name, rule in types.items():
        members = rule.get("members", {})
        primitives = {
            member
            for member, (of, _) in members.items()
            if types[of]["is"] not in {"object", "structure", "refused"} and member not in {"id", "resourceType"}
        } - ({"url"} if name == "Extension" else set())
        extensible = {member[1:] for member in members if member.startswith("_")}
        assert primitives - {"url", "data"} <= extensible
        assert extensible <= primitives | {"url", "data"}


@pytest.mark.parametrize("kind", TYPES)
def test_example_has_every_element_of_the_profile(kind: str) -> None:
    """Tests that change the example therefore change every element."""
    types = table(kind)["types"]
    seen: dict[str, set[str]] = {}

    def walk(value: Any, of: str) -> None:
        members = types[of].get("members", {})
        if isinstance(value, dict) and members:
            seen.setdefault(of, set()).update(value)
            for name, item in value.items():
                for element in item if members[name][1] else [item]:
                    walk(element, members[name][0])

    walk(plain(example(kind)), kind)
    for of, names in seen.items():
        if of not in {"Extension", "Element", "Coding", "Reference", "DocumentReference.Attachment"} and "." not in of:
            missing = types[of]["members"].keys() - names
            missing -= {"id", "extension", "modifierExtension", "contained", "implicitRules"}
            assert {name for name in missing if not name.startswith(("_", "deceased", "multipleBirth"))} == set()


def places(value: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield way
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*way, key))


def fhirpath(kind: str, way: tuple[str | int, ...]) -> str:
    named = "".join(f"[{step}]" if isinstance(step, int) else f".{step.removeprefix('_')}" for step in way)
    return kind + re.sub(r"\.(value|deceased|multipleBirth)[A-Z]\w*", r".\1", named)


def at(resource: Any, way: tuple[str | int, ...]) -> Any:
    for step in way:
        resource = resource[step]
    return resource


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("wrong", [{"unknown-example": 1}, [], {}, "", 1.5, [[]]])
def test_wrong_value_is_reported_by_its_path(kind: str, wrong: object) -> None:
    whole = example(kind)
    for way in places(whole):
        if not way or way == ("resourceType",):
            continue
        resource = copy.deepcopy(whole)
        at(resource, way[:-1])[way[-1]] = read(wrong)
        expression, diagnostics = problem_in(resource)
        assert expression is not None
        # A problem of a list item has its index. A list of primitives is compared with the list of their extensions.
        assert re.fullmatch(rf"{re.escape(fhirpath(kind, way))}(\[\d\])?", expression)
        assert diagnostics.startswith(f"{expression} ")
        assert "unknown-example" not in diagnostics
        assert not accepted_reference_validator(resource)


LEAVES: st.SearchStrategy[object] = st.sampled_from(
    ["", "x", " ", "2023-02-30", "2020-02-29", "http://x", 0, 1, -1, 1.5, True, None, [], {}, [None]]
)
NAMES = st.sampled_from(
    ["id", "extension", "_given", "given", "_gender", "deceasedBoolean", "url", "size", "x", "period"]
)


@st.composite
def nearly_valid(draw: st.DrawFn) -> dict[str, JsonValue]:
    resource: Any = example(draw(st.sampled_from(sorted(TYPES))))
    for _ in range(draw(st.integers(0, 3))):
        ways = list(places(resource))
        way = draw(st.sampled_from(ways))
        value = read(draw(LEAVES)) if draw(st.booleans()) else copy.deepcopy(at(resource, draw(st.sampled_from(ways))))
        target = at(resource, way)
        if isinstance(target, dict) and draw(st.booleans()):
            target[draw(NAMES)] = value
        elif way and way[-1] != "resourceType":
            parent = at(resource, way[:-1])
            if draw(st.booleans()):
                parent[way[-1]] = value
            else:
                del parent[way[-1]]
    return resource  # type: ignore[no-any-return] # a JSON value or a fake


def problem_of(resource: dict[str, JsonValue]) -> Unprocessable | None:
    before = dump(resource)
    try:
        validate(resource)
    except Unprocessable as problem:
        return problem
    finally:
        assert dump(resource) == before
    return None


@given(nearly_valid())
@settings(max_examples=400, deadline=None)
def test_profile_agrees_with_the_reference_validator(resource: dict[str, JsonValue]) -> None:
    problem = problem_of(resource)
    if problem is None:
        assert accepted_reference_validator(resource)
    else:
        assert re.fullmatch(r"[A-Z]\w+(\.\w+(\[\d+\])?)*", str(problem.expression))
        assert not accepted_reference_validator(resource) or BEYOND_JSON_SCHEMA.search(problem.diagnostics)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | TEXT, inner, max_size=4),
    max_leaves=12,
)
ELEMENTS = NAMES | TEXT | st.sampled_from(["name", "contact", "extension", "content", "meta", "text"])


@given(st.sampled_from([*TYPES, "Observation", 1, None]), st.dictionaries(ELEMENTS, JSON, max_size=4))
@settings(deadline=None)
def test_any_json_is_accepted_or_rejected(kind: object, members: dict[str, object]) -> None:
    resource = resource_of({**members, "resourceType": kind})
    problem = problem_of(resource)
    assert problem is not None or kind == "Patient"


def test_deeply_nested_resource_is_checked_at_every_level() -> None:
    levels = (MAX_DEPTH - 3) // 2
    extension = '{"url":"x","extension":[' * levels + '{"url":"x","valueString":%s}' + "]}" * levels
    resource = parse(('{"resourceType":"Patient","extension":[' + extension % '"y"' + "]}").encode())
    assert isinstance(resource, dict)
    validate(resource)
    resource = parse(('{"resourceType":"Patient","extension":[' + extension % "5" + "]}").encode())
    assert isinstance(resource, dict)
    assert problem_in(resource)[0] == "Patient" + ".extension[0]" * (levels + 1) + ".value"


@pytest.mark.parametrize("unit", ["a", " ", "a ", "A+/=", "0", "urn:", "a/", "AAAA ", "; a=b", "1."])
def test_regular_expressions_match_in_limited_time(unit: str) -> None:
    """No regular expression backtracks without limit on a text that almost matches."""
    text = unit * (100_000 // len(unit))
    rules = {
        json.dumps(rule): rule for kind in TYPES for rule in table(kind)["types"].values() if rule["is"] == "string"
    }
    for rule in rules.values():
        for attempt in (text, f"{text}\0", f"Patient/{text}\0", f"urn:oid:1.{text}\0", f"text/plain{text}\0"):
            started = time.process_time()
            re.fullmatch(rule.get("pattern", ""), attempt)
            FORMATS.get(rule.get("format", ""), bool)(attempt)
            assert time.process_time() - started < 0.5

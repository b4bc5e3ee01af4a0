"""JSON Merge Patch, with the test cases of RFC 7396, appendix A."""

from typing import Any

import pytest

from patient_api.errors import Unprocessable
from patient_api.fhir.codec import dump, parse
from patient_api.fhir.patch import merge
from unit.patient_api.fakes.api import Platform, patient
from unit.patient_api.fhir.examples import applied, resource_of

SERVER_ELEMENTS = {"resourceType": "Patient", "id": "a", "meta": {"versionId": "1", "tag": [{"code": "x"}]}}


def merged(resource: dict[str, Any], changes: dict[str, Any]) -> Any:
    return applied(merge, SERVER_ELEMENTS | resource, changes)


@pytest.mark.parametrize(
    ("resource", "changes", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"a": "foo"}}, {"a": "bar"}, {"a": "bar"}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": [1, 2]}, {"a": {"a": "b", "c": None}}, {"a": {"a": "b"}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"given": ["x"]}, {"given": [None, "y"]}, {"given": [None, "y"]}),
        ({}, {}, {}),
    ],
)
def test_test_cases_of_rfc_7396_hold(
    resource: dict[str, Any], changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert merged(resource, changes) == SERVER_ELEMENTS | expected


@pytest.mark.parametrize(
    "changes",
    [
        {"resourceType": "Observation"},
        {"resourceType": None},
        {"id": "b"},
        {"id": None},
        {"meta": None},
        {"meta": "x"},
        {"meta": {"versionId": "2"}},
        {"meta": {"tag": []}},
        {"meta": {"security": [{"code": "R"}]}},
        {"meta": {"tag": None}},
    ],
)
def test_changing_server_elements_is_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable, match="changes the id"):
        merged({"active": True}, changes)


@pytest.mark.parametrize("changes", [SERVER_ELEMENTS, {"id": "a"}, {"meta": {"versionId": "1"}}, {"meta": {}}])
def test_repeating_server_elements_is_allowed(changes: dict[str, Any]) -> None:
    assert merged({"active": True}, changes | {"active": False}) == SERVER_ELEMENTS | {"active": False}


def test_numbers_keep_their_digits() -> None:
    changes = parse(b'{"extension":[{"url":"x","valueDecimal":1.500}]}')
    assert isinstance(changes, dict)
    before = resource_of(SERVER_ELEMENTS)
    assert '"valueDecimal":1.500' in dump(merge(before, changes))


def test_merge_patch_media_type_is_not_read_as_fhirpath_patch(platform: Platform) -> None:
    path, _ = platform.made()
    change = {"name": "operation", "part": [{"name": "type", "valueCode": "delete"},
                                            {"name": "path", "valueString": "Patient.name[0]"}]}  # fmt: skip
    body = {"resourceType": "Parameters", "parameter": [change]}
    for content_type, status in (("application/merge-patch+json", 422), ("application/json", 200)):
        assert platform.call("PATCH", path, body, headers={"content-type": content_type}).status == status


class TestOverHttp:
    """Some clients send merge patches as `application/json`, and it has the same result."""

    @pytest.fixture(params=["application/merge-patch+json", "application/json", "application/json; charset=utf-8"])
    def content_type(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def test_merge_patch_changes_only_its_members(self, platform: Platform, content_type: str) -> None:
        path, _ = platform.made(gender="female", birthDate="1970-01-01")
        reply = platform.patch(path, {"gender": None, "active": True}, {"content-type": content_type})
        assert reply.status == 200
        assert {name: reply.json.get(name) for name in ("gender", "birthDate", "active", "name")} == {
            "gender": None,
            "birthDate": "1970-01-01",
            "active": True,
            "name": patient()["name"],
        }
        assert platform.call("GET", path).body == reply.body
        assert [item["interaction"] for item in platform.audit(action="U")] == ["patch"]

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ([], 400),
            ("null", 400),
            ("1", 400),
            ("", 400),
            ("{", 400),
            ('{"active":true,"active":false}', 400),
            ([{"op": "add", "path": "/active", "value": True}], 400),
            ({"gender": "x"}, 422),
            ({"name": []}, 422),
            ({"nickname": "x"}, 422),
            ({"id": "other"}, 422),
            ({"meta": {"versionId": "1"}}, 412),
            ({"address": [{"text": "x" * 200_000}]}, 413),
        ],
    )
    def test_invalid_merge_patch_is_rejected(
        self, platform: Platform, content_type: str, changes: object, status: int
    ) -> None:
        path, _ = platform.made(contact=[{"name": {"text": "y" * 100_000}}])
        assert platform.patch(path, changes, {"content-type": content_type}).status == status
        assert len(platform.versions()) == 1

"""The JSON codec."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.errors import Malformed
from patient_api.fhir.codec import MAX_DEPTH, MAX_NUMBER_LENGTH, Number, dump, parse

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@given(VALUES)
def test_parsed_value_is_written_unchanged(value: Any) -> None:
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert dump(parse(compact.encode())) == compact
    assert dump(parse(json.dumps(value, indent=2).encode())) == compact


@given(NUMBERS)
def test_numbers_keep_every_digit(text: str) -> None:
    number = parse(text.encode())
    assert isinstance(number, Number)
    assert number == Decimal(text)
    assert dump(number) == text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"\\ud800":1}',
        b'{"a":"\\u0000"}',
        b'{"a\\u0000":1}',
        b'{"a":"\x00"}',
        b'{"a":"\n"}',
        b'{"a":1,"a":2}',
        b'{"a":[{"b":1,"b":1}]}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"[01]",
        b"[1.]",
        b"1" * (MAX_NUMBER_LENGTH + 1),
        b"1e99999999999999999999",
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_ambiguous_or_invalid_json_is_rejected(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse(body)


def test_largest_depth_is_accepted() -> None:
    body = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert dump(parse(body)) == body.decode()


@pytest.mark.trap(42)
@pytest.mark.parametrize("body", [b'{"Zubrowka":1,"Zubrowka":2}', b'{"a":"Zubrowka', b'["Zubrowka", Zubrowka]'])
def test_error_does_not_quote_the_body(body: bytes) -> None:
    with pytest.raises(Malformed) as raised:
        parse(body)
    assert "Zubrowka" not in str(raised.value)

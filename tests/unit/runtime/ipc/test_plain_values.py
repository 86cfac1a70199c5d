"""runtime.ipc.plain_values: plain values come back as they are, and nothing else is taken."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.ipc.plain_values import DEPTH, LONGEST, decode_plain, encode_plain

HASHABLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    HASHABLE | st.tuples(HASHABLE) | st.frozensets(HASHABLE, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=10,
)


def typed(value: Any) -> Any:
    """Return a value with the types of all its parts; 1, 1.0 and True are equal otherwise."""
    if isinstance(value, dict):
        return "dict", sorted((repr(key), typed(item)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted(map(repr, value))
    if isinstance(value, list | tuple):
        return type(value).__name__, list(map(typed, value))
    return repr(value)


@given(PLAIN)
def test_a_plain_value_comes_back_as_it_was(value: Any) -> None:
    text = encode_plain(value)
    assert text is not None
    assert typed(decode_plain(text)) == typed(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, {"$tuple": [1]}, {"$": 1}, {1: 2, "1": 3}, {"$bytes": "no"}])
def test_what_json_has_no_word_for(value: Any) -> None:
    assert decode_plain(encode_plain(value) or "") == value


def test_no_number() -> None:
    assert math.isnan(decode_plain(encode_plain(math.nan) or ""))


class Text(str):
    __slots__ = ()


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize("value", [object(), Text("a"), [1, int], "\udcff", "x" * LONGEST, nested(DEPTH + 1), 1j])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    assert encode_plain(value) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"$bytes":"?"}', '{"$bytes":1}', '{"$set":[[]]}', '{"$dict":[1]}', '{"$tuple":1}', "[" * 99 + "]" * 99],
)
def test_a_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"plain value|too deep|base64"):
        decode_plain(text)

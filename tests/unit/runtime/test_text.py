"""Text from outside: on one line, without control characters, no longer than wanted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.text import printable, printable_json, printable_lines, single_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve 日本", "naïve 日本"), ("\x1b[31mred", "\\x1b[31mred"),
        ("a\0b", "a\\x00b"), ("two\nlines", "two\\nlines"),
        ("\u202eright to left", "\\u202eright to left"), ("\udcff", "\\udcff"),
    ],
)  # fmt: skip
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_lines() -> None:
    assert printable_lines("one\x07\ntwo\n") == "one\\x07\ntwo\n"


def test_one_line() -> None:
    """A reason of several lines becomes one; a long one says that it was cut."""
    assert single_line("disk\n\t full ", 20) == "disk full"
    assert single_line("x" * 21, 20) == "x" * 19 + "…"


@given(st.text(), st.integers(1, 50))
def test_it_is_always_printable_and_short_enough(text: str, limit: int) -> None:
    line = single_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit
    line.encode()


HOSTILE = "\x1b\x00\x07\x7f\x80\x9b\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ud800\udcff\U000e0001"


@given(st.text(st.one_of(st.sampled_from(HOSTILE), st.characters())))
def test_no_character_moves_a_cursor_or_a_line(text: str) -> None:
    """And what was printable is shown as it is."""
    shown = printable(text)
    assert not set(HOSTILE) & set(shown)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert printable(shown) == shown


@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_stays_the_same_value(value: object) -> None:
    shown = printable_json(json.dumps(value, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == value


@pytest.mark.parametrize("blank", ["\n", "\t", "\r\n"])
def test_white_space_between_values_is_no_part_of_them(blank: str) -> None:
    assert json.loads(printable_json(f'{{{blank}"a":{blank}"\x7f"}}')) == {"a": "\x7f"}

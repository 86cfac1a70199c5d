"""Somebody else's words: on their line, without control characters, no longer than wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plain import one_line, plain, plain_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve 日本", "naïve 日本"), ("\x1b[31mred", "\\x1b[31mred"),
        ("a\0b", "a\\x00b"), ("two\nlines", "two\\nlines"),
        ("\u202eright to left", "\\u202eright to left"), ("\udcff", "\\udcff"),
    ],
)  # fmt: skip
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_lines_stay_lines() -> None:
    assert plain_lines("one\x07\ntwo\n") == "one\\x07\ntwo\n"


def test_one_line() -> None:
    """A reason of several lines becomes one; a long one says that it was cut."""
    assert one_line("disk\n\t full ", 20) == "disk full"
    assert one_line("x" * 21, 20) == "x" * 19 + "…"


@given(st.text(), st.integers(1, 50))
def test_it_is_always_printable_and_short_enough(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit
    line.encode()

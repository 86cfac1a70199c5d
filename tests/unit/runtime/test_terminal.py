"""When text is coloured."""

from __future__ import annotations

import io

import pytest

from runtime.terminal import ColourMode, choose_colours, has_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, True),
    ],
)
def test_a_terminal_has_colours_unless_it_or_its_user_wants_none(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert has_colour(Terminal()) is expected
    assert not has_colour(io.StringIO())


def test_a_choice_wins_over_the_terminal_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    try:
        choose_colours(ColourMode.ALWAYS)
        assert has_colour(io.StringIO())
        monkeypatch.delenv("NO_COLOR")
        choose_colours(ColourMode.NEVER)
        assert not has_colour(Terminal())
    finally:
        choose_colours(ColourMode.AUTO)

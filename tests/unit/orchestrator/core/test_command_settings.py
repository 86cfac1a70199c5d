"""The settings of commands, as text."""

from __future__ import annotations

import pytest

from orchestrator.core.command_settings import most_running, parse_codes, parse_halt, parse_load, parse_signal


def test_codes() -> None:
    assert parse_codes("0,3-5, 1") == (0, 1, 3, 4, 5)
    assert parse_codes([2, 1]) == (2, 1)
    assert parse_codes(None) is None
    for wrong in ("", "x", "256", "5-3", "-1", "1,,2"):
        with pytest.raises(ValueError, match="exit code"):
            parse_codes(wrong)


def test_signals_and_loads() -> None:
    assert [parse_signal(text) for text in ("term", "SIGINT", 10)] == ["TERM", "INT", "10"]
    assert [most_running(str(parse_load(text)), 4) for text in ("3", "50%", 0)] == [3, 2, 0.01]
    for wrong in ("", "$(x)", "-"):
        with pytest.raises(ValueError, match="not the name"):
            parse_signal(wrong)
    with pytest.raises(ValueError, match="neither"):
        parse_load("many")


@pytest.mark.parametrize(
    ("text", "completed", "failed", "total", "reached"),
    [
        ("now,fail=1", 5, 0, 9, False),
        ("now,fail=1", 5, 1, 9, True),
        ("soon,success=2", 2, 0, 9, True),
        ("soon,done=3", 2, 1, 9, True),
        ("now,fail=50%", 0, 2, 9, False),  # too few have ended
        ("now,fail=50%", 1, 2, 9, True),
        ("now,success=50%", 4, 0, 9, False),
        ("now,success=50%", 5, 0, 9, True),
    ],
)
def test_halt(text: str, completed: int, failed: int, total: int, reached: bool) -> None:
    halt = parse_halt(text)
    assert halt is not None
    assert halt.is_reached(completed, failed, total) is reached


def test_halts_that_are_none() -> None:
    assert parse_halt("never") is None
    for wrong in ("fail=1", "now", "later,fail=1", "now,fail=0", "now,fail=1.5", "now,fail=101%"):
        with pytest.raises(ValueError, match=r"is not like|whole number"):
            parse_halt(wrong)

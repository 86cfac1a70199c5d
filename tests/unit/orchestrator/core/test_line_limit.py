"""How many lines of one kind are written."""

from __future__ import annotations

from orchestrator.core.line_limit import LineLimit


def test_some_lines_are_written_at_once_and_then_one_now_and_then_that_counts_the_others() -> None:
    limit = LineLimit(at_once=3, seconds=2)
    assert [limit.admit(10) for _ in range(5)] == [0, 0, 0, None, None]
    assert limit.admit(11.9) is None
    assert limit.admit(12.1) == 3
    assert limit.admit(12.2) is None


def test_after_a_pause_some_are_written_at_once_again() -> None:
    limit = LineLimit(at_once=2, seconds=1)
    assert [limit.admit(0) for _ in range(3)] == [0, 0, None]
    assert [limit.admit(100) for _ in range(3)] == [1, 0, None]


def test_a_clock_that_goes_back_gives_no_credit() -> None:
    limit = LineLimit(at_once=1, seconds=1)
    assert [limit.admit(now) for now in (5, 1, 1.5)] == [0, None, None]

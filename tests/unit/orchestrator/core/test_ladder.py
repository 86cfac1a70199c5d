"""The ladder: rungs in order, each with its time, and an end."""

from __future__ import annotations

import pytest

from orchestrator.core.ladder import Escalation, Ladder, Rung


def test_every_rung_lasts_as_long_as_it_was_given() -> None:
    climb = Escalation(Ladder(3.0, 2.0, 1.0))
    assert climb.due is None
    seen = []
    now = 10.0
    while climb.rung is not Rung.ABANDONED:
        climb = climb.next(now)
        seen.append((climb.rung, climb.due))
        now = climb.due if climb.due is not None else now
    assert seen == [(Rung.FLAG, 13.0), (Rung.TERM, 15.0), (Rung.KILL, 16.0), (Rung.ABANDONED, None)]
    assert now - 10.0 == Ladder(3.0, 2.0, 1.0).total


def test_the_last_rung_is_its_own_next() -> None:
    climb = Escalation(Ladder(), Rung.ABANDONED, 1.0)
    assert climb.next(5.0).rung is Rung.ABANDONED


@pytest.mark.parametrize("name", ["grace", "term_grace", "kill_patience"])
def test_time_is_not_negative(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Ladder(**{name: -1})


def test_a_stop_divides_the_patience_between_the_kill_rung_and_the_last_look() -> None:
    ladder = Ladder(3.0, 2.0, 2.0).for_stop
    assert (ladder.kill_patience, ladder.last_look) == (1.0, 1.0)
    assert ladder.total == Ladder(3.0, 2.0, 2.0).total
    climb = Escalation(ladder, Rung.KILL, 10.0)
    assert (climb.due, climb.ends) == (11.0, 12.0)
    assert climb.next(11.0).ends == 12.0
    assert climb.next(11.0).due is None

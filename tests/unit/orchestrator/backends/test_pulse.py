"""A guardian is held when it neither answers nor works nor could; and nothing else is taken for that."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.backends.pulse import LONGEST_LOOK, PING_SECONDS, Pulse


@dataclass
class Seen:
    used: int = 0
    is_runnable: bool = False


def silence(*activities: Seen | None, step: float = 0.25) -> float:
    """After a ping without an answer, and so many looks."""
    pulse = Pulse(0.0)
    assert pulse.look(0.0, activities[0]) == 1
    for number, activity in enumerate(activities, 1):
        assert pulse.look(number * step, activity) is None
    return pulse.silence


def test_silence_is_counted_while_it_sleeps() -> None:
    assert silence(*[Seen()] * 5) == 5 * 0.25


def test_one_that_works_is_not_silent() -> None:
    assert silence(*[Seen(used) for used in range(5)]) == 0


def test_nor_one_that_waits_for_a_processor() -> None:
    assert silence(*[Seen(is_runnable=True)] * 5) == 0


def test_nor_one_of_which_nothing_is_known() -> None:
    assert silence(*[None] * 5) == 0


def test_a_pause_of_everything_counts_as_one_look() -> None:
    assert silence(Seen(), Seen(), step=3600.0) == 2 * LONGEST_LOOK


def test_an_answer_ends_it_and_the_next_ping_comes_later() -> None:
    pulse = Pulse(0.0)
    pulse.look(0.0, Seen())
    pulse.look(0.25, Seen())
    pulse.answered(1, 0.3)
    assert pulse.silence == 0
    assert pulse.look(0.4, Seen()) is None
    assert pulse.look(0.4 + PING_SECONDS, Seen()) == 2


def test_an_answer_to_an_older_ping_is_none() -> None:
    pulse = Pulse(0.0)
    pulse.look(0.0, Seen())
    pulse.look(0.25, Seen())
    pulse.answered(0, 0.3)
    assert pulse.silence == 0.25

"""Whether a ladder fits into what a host grants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.config import Settings
from orchestrator.core.ladder import Escalation, Ladder
from orchestrator.core.stop_budget import explain_shortening, fit, grant_for, margin_of, use_up
from runtime.stop_limits import HOST_MARGIN

times = some.floats(0, 1000)


def test_without_a_limit_nothing_changes() -> None:
    ladder = Ladder(3600, 600, 2)
    assert fit(ladder, None).ladder is ladder
    assert fit(ladder, None).fits


def test_a_ladder_that_fits_is_left_alone() -> None:
    """To the second: its rungs, and the margin."""
    ladder = Ladder(10, 5, 2)
    assert fit(ladder, 20).fits
    assert not fit(ladder, 19.9).fits
    assert fit(ladder, 19.9).needed == 17 + HOST_MARGIN


def test_patience_goes_before_the_graces() -> None:
    """What SIGKILL does not end at once hardly ever ends."""
    found = fit(Ladder(10, 5, 2), 19).ladder
    assert (found.grace, found.term_grace, found.kill_patience) == (10, 5, 1.0)


def test_the_graces_shrink_in_proportion() -> None:
    found = fit(Ladder(20, 10, 2), 9.5).ladder
    assert (round(found.grace, 3), round(found.term_grace, 3), found.kill_patience) == (4.733, 2.367, 0.5)


@given(times, times, some.floats(0.01, 100), some.floats(0.01, 2000))
def test_what_comes_out_fits(grace: float, term_grace: float, patience: float, granted: float) -> None:
    """Whatever goes in; no rung grows, none is negative, and nothing shrinks that need not."""
    wanted = Ladder(grace, term_grace, patience)
    found = fit(wanted, granted)
    assert found.ladder.total + margin_of(granted) <= granted + 1e-6 or found.fits
    for rung in ("grace", "term_grace", "kill_patience"):
        assert 0 <= getattr(found.ladder, rung) <= getattr(wanted, rung)
    if not found.fits:
        assert abs(found.ladder.total + margin_of(granted) - granted) < 1e-6


def test_the_advice_has_the_numbers_and_the_cure() -> None:
    said = explain_shortening(fit(Ladder(20, 10, 2), 9.5))
    for word in ("9.5 s", "35 s", "20 s", "10 s", "4.73", "2.37", "TimeoutStopSec=", "--grace"):
        assert word in said


def test_the_host_is_no_part_of_a_run() -> None:
    """It is asked anew wherever the run goes on; its own graces come back when there is time for them."""
    settings = Settings(workers=1, grace=20, term_grace=10, host_grace=9.5)
    assert settings.ladder.grace < 5
    kept = settings.model_dump(mode="json")
    assert "host_grace" not in kept
    assert Settings(**kept).ladder == Ladder(20, 10, 2)


def test_a_climb_knows_when_its_last_rung_is_over() -> None:
    """Whichever rung it is on: that is how long a host may be asked to wait."""
    climb = Escalation(Ladder(10, 5, 2))
    assert climb.ends is None
    ends = []
    for now in (100.0, 110.0, 115.0, 117.0):
        climb = climb.next(now)
        ends.append(climb.ends)
    assert ends == [117.0, 117.0, 117.0, 117.0]


@given(times, times, times, some.floats(0, 5000))
def test_a_grant_that_is_used_up_is_used_to_its_margin(
    grace: float, term_grace: float, patience: float, granted: float
) -> None:
    ladder = use_up(Ladder(grace, term_grace, patience), granted).ladder
    assert ladder.total == pytest.approx(granted - margin_of(granted))


@given(times, times, times)
def test_the_shortest_grant_is_enough(grace: float, term_grace: float, patience: float) -> None:
    ladder = Ladder(grace, term_grace, patience)
    assert use_up(ladder, grant_for(ladder)).ladder.total == pytest.approx(ladder.total)


@given(some.integers(0, 4), some.floats(0, 20), some.floats(0, 40))
def test_a_climb_is_shortened_to_its_end(steps: int, later: float, seconds: float) -> None:
    climb = Escalation(Ladder(10, 5, 1, 1))
    for _ in range(steps):
        climb = climb.next(100.0)
    now = 100.0 + later
    ends, shortened = climb.ends, climb.shortened(now, seconds)
    assert shortened.rung is climb.rung
    if ends is None or ends <= now + seconds:
        assert shortened is climb
    elif (due := climb.due) is None or due >= now:
        assert shortened.ends == pytest.approx(now + seconds)

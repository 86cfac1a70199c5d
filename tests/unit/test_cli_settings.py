"""What the command line makes of its options."""

from __future__ import annotations

from orchestrator.cli.run import settings_of


def test_zero_is_a_value_like_any_other() -> None:
    found = settings_of({"grace": 0.0, "term_grace": 0.0, "retries": 0}, {"grace": 7.0, "retries": 2})
    assert (found.grace, found.term_grace, found.retries) == (0.0, 0.0, 0)


def test_what_was_not_given_stays_as_it_was() -> None:
    found = settings_of({"grace": None, "preempt": False}, {"grace": 7.0, "preempt": True})
    assert (found.grace, found.preempt) == (7.0, True)

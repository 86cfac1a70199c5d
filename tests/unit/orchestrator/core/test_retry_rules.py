"""Whether a failed task is tried again, and when: by its exception, by the settings, and when it asks for it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import Settings
from orchestrator.core.retry_rules import RETRY_LATER_LIMIT, chance, is_retried, retry_delay, seconds_until_later
from runtime.errors import UsageError
from runtime.failure import Failure
from runtime.ipc.executor_protocol import TaskDone
from runtime.model import InterruptReason, InterruptSignal
from tests.unit.orchestrator.core.simulated_run import SimulatedRun

MISSING = Failure(type="FileNotFoundError", bases=["OSError", "Exception", "BaseException"])
REFUSED = Failure(type="m.Refused", bases=["ValueError", "Exception", "BaseException"])
TIMEOUT = InterruptSignal(reason=InterruptReason.TIMEOUT)


def settings(**chosen: Any) -> Settings:
    return Settings.from_options(workers=1, **chosen)


@pytest.mark.parametrize(
    ("chosen", "failure", "expected"),
    [
        ({}, MISSING, True),
        ({}, None, True),
        ({"retry_on": "OSError"}, MISSING, True),
        ({"retry_on": "OSError"}, REFUSED, False),
        ({"retry_on": "KeyError, m.Refused"}, REFUSED, True),
        ({"retry_on": ["Refused"]}, REFUSED, True),
        ({"retry_on": [OSError]}, MISSING, True),
        ({"retry_on": "other.Refused"}, REFUSED, False),
        ({"retry_on": "OSError"}, None, False),
        ({"no_retry_on": "OSError"}, MISSING, False),
        ({"no_retry_on": "OSError"}, REFUSED, True),
        ({"retry_on": "Exception", "no_retry_on": "FileNotFoundError"}, MISSING, False),
        ({"retry_on": "Exception", "no_retry_on": "FileNotFoundError"}, REFUSED, True),
    ],
)
def test_exceptions_are_chosen_by_name(chosen: dict[str, Any], failure: Failure | None, *, expected: bool) -> None:
    assert is_retried(settings(**chosen), failure, None) is expected


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, True),
        ({"retry_on": "timeout"}, True),
        ({"retry_on": "OSError"}, False),
        ({"no_retry_on": "timeout"}, False),
    ],
)
def test_a_limit_is_chosen_by_its_reason(chosen: dict[str, Any], *, expected: bool) -> None:
    assert is_retried(settings(**chosen), None, TIMEOUT) is expected


@pytest.mark.parametrize("value", ["", "a b", "A,,B", "1A", [], [1], "A;B"])
def test_what_is_no_name_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="is not the name of an exception"):
        settings(retry_on=value)


def test_names_are_kept_with_the_run() -> None:
    chosen = settings(retry_on="OSError,m.Refused")
    assert Settings.model_validate(chosen.model_dump(mode="json")).retry_on == ("OSError", "m.Refused")


def test_delays_grow_to_the_maximum() -> None:
    chosen = settings(retry_delay=1.0, retry_max_delay=5.0, retry_jitter=0.0)
    assert [retry_delay(chosen, 1, attempt) for attempt in range(1, 6)] == [1.0, 2.0, 4.0, 5.0, 5.0]


@given(st.integers(1, 1 << 40), st.integers(1, 1000))
def test_jitter_takes_its_share_away_at_most(seq: int, attempt: int) -> None:
    chosen = settings(retry_delay=1.0, retry_max_delay=1.0, retry_jitter=0.25)
    assert 0.75 < retry_delay(chosen, seq, attempt) <= 1.0
    assert chance(seq, attempt) == chance(seq, attempt)


def test_tasks_that_failed_together_are_spread() -> None:
    chances = sorted(chance(seq, 1) for seq in range(1, 1001))
    assert max(later - earlier for earlier, later in itertools.pairwise(chances)) < 0.02
    assert 0 <= chances[0] < 0.02
    assert 0.98 < chances[-1] < 1


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, None), (0.0, 0.0), (90.5, 90.5), (-1.0, 0.0), (math.nan, None), (math.inf, None)]
)
def test_the_seconds_that_a_task_asks_for(asked: float | None, seconds: float | None) -> None:
    assert seconds_until_later(done(1, asked)) == seconds


def done(task: int, retry_after: float | None) -> TaskDone:
    failure = Failure(type="runtime.errors.RetryLater", bases=["Exception", "BaseException"], retry_after=retry_after)
    return TaskDone(task, "failed", None, "json", "RetryLater: again", None, 0.0, 1.0, failure=failure)


def ask_again(world: SimulatedRun, seconds: float) -> None:
    task = world.executors[0].tasks.pop()
    world.hear(0, done(task, seconds))


def started(**chosen: Any) -> SimulatedRun:
    world = SimulatedRun(1, workers=1, **chosen)
    world.begin()
    world.answer_fetch()
    world.come_up(0)
    return world


def test_a_task_that_asks_for_it_is_tried_later_at_no_cost() -> None:
    world = started(retries=0)
    for times in range(1, 4):
        began = world.now
        ask_again(world, 30.0)
        assert not world.executors[0].tasks
        while not world.executors[0].tasks:
            world.tick(1.0)
        assert world.now - began >= 30.0
        assert world.named("task.postponed")[-1].fields["times"] == times
    world.end_task(0, "completed")
    assert world.outcomes[1][0].attempts == 1


def test_a_task_that_asks_for_ever_fails() -> None:
    world = started(retries=1)
    asked = 0
    while not world.outcomes.get(1):
        ask_again(world, 0.0)
        asked += 1
        while not world.executors[0].tasks and not world.outcomes.get(1):
            world.tick(0.05)
    assert asked == RETRY_LATER_LIMIT + 2
    (outcome,) = world.outcomes[1]
    assert (outcome.status, outcome.attempts) == ("failed", 2)
    assert outcome.failure is not None

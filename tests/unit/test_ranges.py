"""Durations and counts that are none are refused where they enter, in one line; waits are bounded all the same."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import Supervisor
from orchestrator.config import Settings
from orchestrator.core.settings import SHORTEST_HEARTBEAT_TIMEOUT
from orchestrator.engine.hub import Hub
from runtime import CircuitBreaker, EventBus, ExecutionState, RetryPolicy, agent
from runtime.errors import UsageError
from runtime.interrupts.checkers import HttpChecker, ResourceMonitor
from runtime.limits import LONGEST_SECONDS, LONGEST_WAIT, clamp_wait

NONE: list[Any] = [-1, math.nan, 1e20, "soon", True, 10**400]


async def stream(**options: Any) -> None:
    EventBus().stream(**options)


REFUSED: dict[str, Callable[[Any], object]] = {
    "RetryPolicy total_time": lambda bad: RetryPolicy(total_time=bad),
    "RetryPolicy delay": lambda bad: RetryPolicy(delay=bad),
    "RetryPolicy max_delay": lambda bad: RetryPolicy(max_delay=bad),
    "RetryPolicy factor": lambda bad: RetryPolicy(factor=bad),
    "RetryPolicy attempts": lambda bad: RetryPolicy(attempts=bad),
    "CircuitBreaker failures": lambda bad: CircuitBreaker(failures=bad),
    "CircuitBreaker reset_after": lambda bad: CircuitBreaker(reset_after=bad),
    "parallel max_workers": lambda bad: ExecutionState().parallel(max_workers=bad),
    "parallel timeout": lambda bad: ExecutionState().parallel(timeout=bad),
    "set_timeout": lambda bad: ExecutionState().set_timeout(bad),
    "sleep": lambda bad: ExecutionState().sleep(bad),
    "checker min_interval": lambda bad: ExecutionState().set_interrupt_checker(lambda: None, min_interval=bad),
    "checker time_limit": lambda bad: ExecutionState().set_interrupt_checker(lambda: None, time_limit=bad),
    "kill_generators": lambda bad: asyncio.run(ExecutionState().kill_generators(bad)),
    "bus stream": lambda bad: asyncio.run(stream(limit=bad)),
    "bus subscribe": lambda bad: EventBus().subscribe(lambda _: None, limit=bad),
    "bus aclose": lambda bad: asyncio.run(EventBus().aclose(bad)),
    "HttpChecker": lambda bad: HttpChecker("http://localhost", timeout=bad),
    "ResourceMonitor interval": lambda bad: ResourceMonitor(ExecutionState(), rss_limit=1, interval=bad),
    "ResourceMonitor rss_limit": lambda bad: ResourceMonitor(ExecutionState(), rss_limit=bad),
    "agent timeout": lambda bad: agent(timeout=bad),
    "agent retries": lambda bad: agent(retries=bad)(lambda task_input, state: None),
    "agent grace": lambda bad: agent(grace=bad)(lambda task_input, state: None),
    "hub subscribe": lambda bad: Hub().subscribe(bad),
}


@pytest.mark.parametrize("bad", NONE, ids=["negative", "nan", "huge", "text", "bool", "enormous"])
@pytest.mark.parametrize("where", REFUSED)
def test_a_number_out_of_range_is_refused_in_one_line(where: str, bad: Any) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        decorated = REFUSED[where](bad)
        if where == "agent timeout":
            decorated(lambda task_input, state: None)  # type: ignore[operator]
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 250


@pytest.mark.parametrize(
    "name",
    [
        "workers",
        "concurrency",
        "grace",
        "term_grace",
        "timeout",
        "deadline",
        "retries",
        "memory_limit",
        "heartbeat_timeout",
        "max_tasks_per_executor",
        "max_memory_per_executor",
        "max_failures",
    ],
)
@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, 1e20, "soon", 10**400, -(10**400)])
def test_settings_out_of_range_are_refused_in_one_line(name: str, bad: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Supervisor(**{name: bad})
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    assert len(message) < 400, message


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("run_id", 3),
        ("run_id", b"r"),
        ("journal", 3),
        ("journal", b"j.db"),
        ("log", 3),
        ("handle_signals", "no"),
        ("journal_group", 1),
        ("workers", True),
        ("deadline", True),
        ("grace", False),
        ("retries", True),
    ],
)
def test_what_is_of_another_type_is_refused_in_one_line(name: str, bad: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Supervisor(**{name: bad})
    message = str(caught.value)
    assert name.replace("_", " ") in message.replace("_", " ")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["retry_on", "never_on"])
@pytest.mark.parametrize("bad", [1, (1,), ("ValueError",), (ValueError, None), (ValueError(),), None])
def test_errors_to_retry_are_classes(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be classes of exceptions, not "):
        RetryPolicy(**{name: bad})
    good: list[Any] = [(), OSError, (OSError, ValueError)]
    for kinds in good:
        RetryPolicy(**{name: kinds})


def test_the_shortest_silence_is_one_that_a_heartbeat_can_keep() -> None:
    with pytest.raises(UsageError, match=r"heartbeat_timeout = 0\.49.* 0\.5"):
        Settings.from_options(heartbeat_timeout=0.49)
    for silence in (SHORTEST_HEARTBEAT_TIMEOUT, 1, 2, 60, LONGEST_SECONDS):
        settings = Settings.from_options(heartbeat_timeout=silence)
        limit = float(silence)
        busy_is_seen = limit / 2 + settings.sample_interval + settings.pause_limit  # watch.quiet
        assert settings.heartbeat <= limit / 4
        assert settings.heartbeat + settings.sample_interval + settings.pause_limit < limit
        assert busy_is_seen < limit
    assert Settings().heartbeat == Settings(heartbeat_timeout=None).heartbeat == 1.0


def test_many_executors_are_given_time_to_be_killed_in_proportion_to_their_number() -> None:
    assert [round(Settings.from_options(workers=count).ladder.kill_patience, 3) for count in (1, 64, 164, 1064)] == [
        2,
        2,
        3,
        12,
    ]


def test_words_that_are_no_member_are_refused() -> None:
    for wrong in (
        lambda: RetryPolicy(backoff="sometimes"),  # type: ignore[arg-type]
        lambda: ExecutionState().parallel(error_strategy="shrug"),  # type: ignore[arg-type]
        lambda: asyncio.run(stream(policy="whatever")),
    ):
        with pytest.raises(ValueError, match="is not a valid"):
            wrong()
    linear = RetryPolicy(backoff="linear", delay=1)  # type: ignore[arg-type]
    assert linear.delay_after(3) == 3  # a member's own word is that member


def test_what_is_in_range_is_taken() -> None:
    assert Settings.from_options(grace=3_600_000, term_grace=LONGEST_SECONDS).grace == 3_600_000
    ExecutionState().set_timeout(math.inf)
    RetryPolicy(total_time=0, jitter=1, attempts=1)
    assert clamp_wait(None) is None
    assert clamp_wait(-1) == 0
    assert clamp_wait(LONGEST_SECONDS) == LONGEST_WAIT
    assert LONGEST_WAIT * 1000 < 2**31  # what epoll and poll can count

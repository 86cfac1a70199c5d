"""The retry decision and the circuit breaker: pure, so no clock and no loop."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.concurrency.circuit_breaker import CircuitBreaker
from runtime.concurrency.retry import Backoff, RetryPolicy
from runtime.errors import ExecutionInterrupted
from runtime.model import InterruptReason, InterruptSignal

ERROR = OSError()


def delays(policy: RetryPolicy, chance: float = 0.0) -> list[float | None]:
    return [policy.decide(ERROR, attempt=number, elapsed=0.0, chance=chance) for number in range(1, 6)]


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (Backoff.CONSTANT, [1, 1, 1, 1, None]),
        (Backoff.LINEAR, [1, 2, 3, 4, None]),
        (Backoff.EXPONENTIAL, [1, 3, 5, 5, None]),
    ],
)
def test_backoff(backoff: Backoff, expected: list[float | None]) -> None:
    assert delays(RetryPolicy(attempts=5, backoff=backoff, delay=1, factor=3, max_delay=5)) == expected


def test_jitter_takes_away_its_share() -> None:
    policy = RetryPolicy(attempts=3, backoff=Backoff.CONSTANT, delay=10, jitter=0.5)
    assert delays(policy, chance=0.0)[0] == 10
    assert delays(policy, chance=0.5)[0] == 7.5


def test_the_total_time_counts_the_wait_that_would_come() -> None:
    policy = RetryPolicy(attempts=9, backoff=Backoff.CONSTANT, delay=2, total_time=10)
    assert policy.decide(ERROR, attempt=1, elapsed=8.0) == 2
    assert policy.decide(ERROR, attempt=1, elapsed=8.1) is None


def test_filters() -> None:
    policy = RetryPolicy(retry_on=(OSError,), never_on=(FileNotFoundError,))
    assert policy.decide(OSError(), attempt=1, elapsed=0) is not None
    assert policy.decide(FileNotFoundError(), attempt=1, elapsed=0) is None
    assert policy.decide(ValueError(), attempt=1, elapsed=0) is None


@pytest.mark.parametrize(
    "error",
    [
        ExecutionInterrupted(InterruptSignal(reason=InterruptReason.CUSTOM)),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(),
        GeneratorExit(),
        BaseExceptionGroup("", [KeyboardInterrupt()]),
    ],
)
def test_what_is_no_exception_is_never_retried(error: BaseException) -> None:
    """Whatever the filter says, also one that lies about its types."""
    policy = RetryPolicy(retry_on=(BaseException,))  # type: ignore[arg-type]
    assert policy.decide(error, attempt=1, elapsed=0) is None


@pytest.mark.parametrize("bad", [{"attempts": 0}, {"jitter": 2}, {"delay": -1}, {"max_delay": -1}, {"factor": -1}])
def test_nonsense_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        RetryPolicy(**bad)  # type: ignore[arg-type]


@given(
    backoff=st.sampled_from(Backoff),
    attempt=st.integers(1, 10**6),
    delay=st.floats(0, 1e6),
    factor=st.floats(0, 1e3),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_never_negative_nor_above_the_limit(
    backoff: Backoff, attempt: int, delay: float, factor: float, jitter: float, chance: float
) -> None:
    policy = RetryPolicy(attempts=10**7, backoff=backoff, delay=delay, factor=factor, jitter=jitter)
    wait = policy.decide(ERROR, attempt=attempt, elapsed=0, chance=chance)
    assert wait is not None
    assert 0 <= wait <= policy.max_delay


# -- the circuit breaker ------------------------------------------------------------------------------------


def test_a_breaker_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker(failures=2, reset_after=10)
    breaker.failed(0)
    breaker.succeeded()
    breaker.failed(1)
    looks = [breaker.is_open]
    breaker.failed(2)
    looks.append(breaker.is_open)
    assert looks == [False, True]
    assert not breaker.allow(11.9)


@pytest.mark.parametrize("probe", ["succeeds", "fails", "tells nothing"])
def test_an_open_breaker_lets_one_probe_through(probe: str) -> None:
    breaker = CircuitBreaker(failures=1, reset_after=10)
    breaker.failed(0)
    assert breaker.allow(10)
    assert not breaker.allow(10)
    if probe == "succeeds":
        breaker.succeeded()
        assert breaker.allow(10)
        assert not breaker.is_open
    elif probe == "fails":
        breaker.failed(11)
        assert not breaker.allow(20.9)
        assert breaker.allow(21)
    else:
        breaker.cancelled()
        assert breaker.allow(11)


def test_a_breaker_needs_a_failure() -> None:
    with pytest.raises(ValueError, match="failures"):
        CircuitBreaker(failures=0)

"""engine.oom_watch: a kill that the kernel has counted is credited to one executor, soon, and once."""

from __future__ import annotations

from orchestrator.engine.oom_watch import CREDIT_SECONDS, OomWatch


class Host:
    """A counter and a clock that the test sets."""

    def __init__(self, count: int | None = 7) -> None:
        self.count = count
        self.time = 100.0
        self.watch = OomWatch(lambda: self.count, lambda: self.time)
        self.watch.look()


def test_a_kill_is_credited_once() -> None:
    host = Host()
    assert not host.watch.claim(), "what was counted before is not ours"
    host.count = 8
    assert host.watch.claim()
    assert not host.watch.claim()


def test_two_kills_at_once_are_two_executors() -> None:
    host = Host()
    host.count = 9
    assert [host.watch.claim() for _ in range(3)] == [True, True, False]


def test_an_executor_may_take_seconds_to_die() -> None:
    host = Host()
    host.count = 8
    host.watch.look()
    host.time += CREDIT_SECONDS - 1
    assert host.watch.claim()


def test_a_kill_that_no_executor_claims_expires() -> None:
    """It was a process that an agent had started."""
    host = Host()
    host.count = 8
    host.watch.look()
    host.time += CREDIT_SECONDS + 1
    assert not host.watch.claim()


def test_a_host_that_does_not_count() -> None:
    host = Host(None)
    assert not host.watch.claim()
    host.count = 5
    assert not host.watch.claim(), "the first number is only where it begins"

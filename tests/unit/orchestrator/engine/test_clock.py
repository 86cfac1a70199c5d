"""What a loop has lost is neither its sleep nor its work."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.engine.clock import PauseDetector


@dataclass
class ThreadClock:
    """The clocks of one thread, in seconds."""

    now: float = 100.0
    used: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def processor_time(self) -> float:
        return self.used


def test_a_pause_is_noticed_by_the_thread_that_takes_the_loop_over() -> None:
    clock = ThreadClock()
    pauses = PauseDetector(clock)
    pauses.move()  # nothing was measured yet
    assert pauses.lost(0.0) == 0.0
    clock.now += 30  # in which no thread had the loop
    clock.used = 500.0  # another thread's clock
    pauses.move()
    assert abs(pauses.lost(0.0) - 30.0) < 1e-9


def test_a_pause_is_told_from_sleep_and_from_work() -> None:
    clock = ThreadClock()
    pauses = PauseDetector(clock)
    assert pauses.lost(0.0) == 0.0
    for wait, wanted, work, lost in [
        (0.25, 0.25, 0.0, 0.0),  # slept as it wanted to
        (0.1, 5.0, 0.0, 0.0),  # was woken early
        (3.0, 0.0, 3.0, 0.0),  # worked
        (3.25, 0.25, 3.0, 0.0),  # slept and worked
        (30.25, 0.25, 0.0, 30.0),  # was stopped
        (33.25, 0.25, 3.0, 30.0),
    ]:
        slept_until = clock.now + wanted
        clock.now += wait
        clock.used += work
        assert abs(pauses.lost(slept_until) - lost) < 1e-9
    clock.now += 99
    pauses.reset()
    assert pauses.lost(0.0) == 0.0

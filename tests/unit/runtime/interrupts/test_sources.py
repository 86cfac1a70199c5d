"""Interrupt sources: reading a signal changes nothing; the first signal wins, read or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtime.errors import ExecutionInterrupted
from runtime.execution.state import ExecutionState
from runtime.model import InterruptReason, InterruptSignal
from runtime.testing import FakeSupervisorLink

FLAGGED = InterruptSignal(reason=InterruptReason.SYSTEM_SHUTDOWN, message="flag")
REQUESTED = InterruptSignal(reason=InterruptReason.CUSTOM, message="requested")


@dataclass
class Scenario:
    """A state under a supervisor and a clock of its own, with a subscriber and a waker."""

    now: float = 50.0
    host: FakeSupervisorLink = field(default_factory=FakeSupervisorLink)
    received: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = ExecutionState(host=self.host, clock=lambda: self.now)
        self.state.event_bus.subscribe(self.received.append)
        self.state.add_waker(lambda: self.received.append("woken"))
        self.state.set_timeout(10, "too slow")

    def pass_deadline(self) -> None:
        self.now += 11

    def raise_flag(self) -> None:
        self.host.raise_flag(FLAGGED)

    def request(self) -> None:
        self.state.set_signal(REQUESTED)

    def cancel(self) -> None:
        self.state.cancel_timeout()

    def postpone(self) -> None:
        self.state.set_timeout(100)

    def read(self, times: int) -> list[tuple[bool, InterruptSignal | None]]:
        return [(self.state.is_interrupted, self.state.interrupt_signal) for _ in range(times)]

    def contents(self) -> tuple[Any, ...]:
        """Everything that a reading might change."""
        state = self.state
        kept = dict(vars(state)), dict(state._signal_slot), dict(state._once)
        return *kept, tuple(self.received), tuple(self.host.events)


@pytest.mark.parametrize("trigger", [lambda _: None, Scenario.pass_deadline, Scenario.raise_flag, Scenario.request])
def test_reading_changes_nothing(trigger: Callable[[Scenario], None]) -> None:
    scenario = Scenario()
    trigger(scenario)
    before = scenario.contents()
    first, *others = scenario.read(20)
    assert others == [first] * 19
    assert first[0] is (first[1] is not None)
    assert scenario.contents() == before


@pytest.mark.parametrize("times", [0, 1, 20])
@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (Scenario.pass_deadline, Scenario.cancel, "too slow"),
        (Scenario.pass_deadline, Scenario.postpone, "too slow"),
        (Scenario.pass_deadline, Scenario.request, "too slow"),
        (Scenario.raise_flag, Scenario.pass_deadline, "flag"),
        (Scenario.raise_flag, Scenario.request, "flag"),
        (Scenario.raise_flag, Scenario.cancel, "flag"),
        (Scenario.request, Scenario.raise_flag, "requested"),
        (Scenario.request, Scenario.pass_deadline, "requested"),
    ],
)
def test_the_first_signal_wins_however_often_it_was_read(
    times: int, first: Callable[[Scenario], None], then: Callable[[Scenario], None], message: str
) -> None:
    """And although no checkpoint came between: a limit that ran out is not taken back by its cancellation."""
    scenario = Scenario()
    first(scenario)
    scenario.read(times)
    then(scenario)
    with pytest.raises(ExecutionInterrupted) as caught:
        scenario.state.raise_if_interrupted()
    assert caught.value.signal.message == message
    assert scenario.read(2) == [(True, caught.value.signal)] * 2
    assert scenario.received[0] == "woken"
    assert [event.data["signal"]["message"] for event in scenario.received[1:]] == [message]


@pytest.mark.parametrize("times", [0, 1, 20])
def test_until_it_is_settled_the_supervisors_flag_takes_precedence_over_a_deadline(times: int) -> None:
    """Which came first is not known when both are up at the first look."""
    scenario = Scenario()
    scenario.pass_deadline()
    scenario.read(times)
    scenario.raise_flag()
    assert scenario.state.settle_signal() == FLAGGED
    scenario.cancel()
    assert scenario.read(1) == [(True, FLAGGED)]


def test_a_settled_deadline_is_not_replaced_by_a_later_flag() -> None:
    scenario = Scenario()
    scenario.pass_deadline()
    settled = scenario.state.settle_signal()
    scenario.raise_flag()
    assert settled is not None
    assert settled.reason is InterruptReason.TIMEOUT
    assert scenario.state.settle_signal() is settled
    assert scenario.state.interrupt_signal is scenario.state.interrupt_signal == settled


def test_settling_without_a_raised_flag_does_nothing() -> None:
    scenario = Scenario()
    before = scenario.contents()
    assert scenario.state.settle_signal() is None
    assert scenario.contents() == before


def test_a_request_after_a_raised_flag_is_not_the_first() -> None:
    scenario = Scenario()
    scenario.raise_flag()
    assert scenario.state.request_interrupt(message="late") is False
    assert scenario.state.interrupt_signal == FLAGGED


def test_a_deadlines_signal_tells_when_the_time_was_up() -> None:
    scenario = Scenario()
    scenario.pass_deadline()
    signal = scenario.state.interrupt_signal
    assert signal is not None
    left = signal.triggered_at - datetime.now(UTC)
    assert timedelta(seconds=0) < left <= timedelta(seconds=10)

"""Interrupt sources: reading tells what they say and changes nothing; the first signal wins, read or not."""

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
ASKED = InterruptSignal(reason=InterruptReason.CUSTOM, message="asked")


@dataclass
class Place:
    """A state under a supervisor and a clock of its own, with a subscriber and a waker."""

    now: float = 50.0
    host: FakeSupervisorLink = field(default_factory=FakeSupervisorLink)
    heard: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = ExecutionState(host=self.host, clock=lambda: self.now)
        self.state.event_bus.subscribe(self.heard.append)
        self.state.add_waker(lambda: self.heard.append("woken"))
        self.state.set_timeout(10, "too slow")

    def pass_deadline(self) -> None:
        self.now += 11

    def raise_flag(self) -> None:
        self.host.raise_flag(FLAGGED)

    def ask(self) -> None:
        self.state.set_signal(ASKED)

    def cancel(self) -> None:
        self.state.cancel_timeout()

    def postpone(self) -> None:
        self.state.set_timeout(100)

    def read(self, times: int) -> list[tuple[bool, InterruptSignal | None]]:
        return [(self.state.is_interrupted, self.state.interrupt_signal) for _ in range(times)]

    def picture(self) -> tuple[Any, ...]:
        """Everything that a reading might change."""
        state = self.state
        kept = dict(vars(state)), dict(state._signal_slot), dict(state._once)
        return *kept, tuple(self.heard), tuple(self.host.events)


@pytest.mark.parametrize("trigger", [lambda _: None, Place.pass_deadline, Place.raise_flag, Place.ask])
def test_reading_changes_nothing(trigger: Callable[[Place], None]) -> None:
    place = Place()
    trigger(place)
    before = place.picture()
    first, *others = place.read(20)
    assert others == [first] * 19
    assert first[0] is (first[1] is not None)
    assert place.picture() == before


@pytest.mark.parametrize("times", [0, 1, 20])
@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (Place.pass_deadline, Place.cancel, "too slow"),
        (Place.pass_deadline, Place.postpone, "too slow"),
        (Place.pass_deadline, Place.ask, "too slow"),
        (Place.raise_flag, Place.pass_deadline, "flag"),
        (Place.raise_flag, Place.ask, "flag"),
        (Place.raise_flag, Place.cancel, "flag"),
        (Place.ask, Place.raise_flag, "asked"),
        (Place.ask, Place.pass_deadline, "asked"),
    ],
)
def test_the_first_signal_wins_however_often_it_was_read(
    times: int, first: Callable[[Place], None], then: Callable[[Place], None], message: str
) -> None:
    """And although no checkpoint came between: a limit that ran out is not taken back by its cancellation."""
    place = Place()
    first(place)
    place.read(times)
    then(place)
    with pytest.raises(ExecutionInterrupted) as caught:
        place.state.raise_if_interrupted()
    assert caught.value.signal.message == message
    assert place.read(2) == [(True, caught.value.signal)] * 2
    assert place.heard[0] == "woken"
    assert [event.data["signal"]["message"] for event in place.heard[1:]] == [message]


@pytest.mark.parametrize("times", [0, 1, 20])
def test_until_it_is_settled_the_supervisors_flag_takes_precedence_over_a_deadline(times: int) -> None:
    """Which came first is not known when both are up at the first look."""
    place = Place()
    place.pass_deadline()
    place.read(times)
    place.raise_flag()
    assert place.state.settle_signal() == FLAGGED
    place.cancel()
    assert place.read(1) == [(True, FLAGGED)]


def test_a_settled_deadline_is_not_replaced_by_a_later_flag() -> None:
    place = Place()
    place.pass_deadline()
    settled = place.state.settle_signal()
    place.raise_flag()
    assert settled is not None
    assert settled.reason is InterruptReason.TIMEOUT
    assert place.state.interrupt_signal is settled


def test_settling_without_a_raised_flag_does_nothing() -> None:
    place = Place()
    before = place.picture()
    assert place.state.settle_signal() is None
    assert place.picture() == before


def test_a_request_after_a_raised_flag_is_not_the_first() -> None:
    place = Place()
    place.raise_flag()
    assert place.state.request_interrupt(message="late") is False
    assert place.state.interrupt_signal == FLAGGED


def test_a_deadlines_signal_tells_when_the_time_was_up() -> None:
    place = Place()
    place.pass_deadline()
    signal = place.state.interrupt_signal
    assert signal is not None
    left = signal.triggered_at - datetime.now(UTC)
    assert timedelta(seconds=0) < left <= timedelta(seconds=10)

"""A request to stop never fails because of its arguments, and always interrupts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ExecutionInterrupted
from runtime.execution.state import ExecutionState
from runtime.interrupt_signal import MESSAGE_LIMIT, TRIGGER_LIMIT, as_signal, build_signal, read_signal
from runtime.model import InterruptReason, InterruptSignal
from runtime.plain_signal import public


class Silent:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


class Leaving:
    """Raises SystemExit when it is formatted."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Sly(str):
    """A str that gives something else for its text."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __len__(self) -> int:
        raise RuntimeError("no length")


ODD = [None, "", b"\xff\x00raw", 7, 10**5000, 1.5, [], {}, object(), Silent(), Leaving(), Sly("sly"), "\x1b[31m\0\r\n",
       "\ud800", "x" * 1_000_000, ValueError("v"), InterruptReason.TIMEOUT, datetime(2026, 1, 1)]  # noqa: DTZ001 # fmt: skip


@pytest.mark.parametrize("name", ["reason", "message", "triggered_by", "save_checkpoint"])
@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_every_argument_may_be_anything(name: str, value: Any) -> None:
    state = ExecutionState()
    assert state.request_interrupt(**{name: value})
    with pytest.raises(ExecutionInterrupted) as caught:
        state.raise_if_interrupted()
    signal = caught.value.signal
    assert InterruptSignal.model_validate_json(signal.model_dump_json()) == signal
    assert str(caught.value)
    assert len(signal.message) < MESSAGE_LIMIT + 300
    assert len(signal.triggered_by) < TRIGGER_LIMIT + 300


@pytest.mark.parametrize(
    ("given_reason", "reason", "message"),
    [
        ("timeout", InterruptReason.TIMEOUT, "m"),
        ("TIMEOUT", InterruptReason.TIMEOUT, "m"),
        ("InterruptReason.TIMEOUT", InterruptReason.TIMEOUT, "m"),
        (b"timeout", InterruptReason.TIMEOUT, "m"),
        (None, InterruptReason.USER_CANCELLED, "m"),
        ("lunch", InterruptReason.CUSTOM, "m (reason 'lunch')"),
        (5, InterruptReason.CUSTOM, "m (reason '5')"),
    ],
)
def test_a_reason_is_understood_or_quoted(given_reason: object, reason: InterruptReason, message: str) -> None:
    signal = build_signal(given_reason, "m")
    assert (signal.reason, signal.message) == (reason, message)


def test_text_is_kept_as_far_as_it_can_travel() -> None:
    assert build_signal(message=b"caf\xc3\xa9 \xff").message == "café \\xff"
    assert build_signal(message="\ud800").message == "\\ud800"
    assert build_signal(message=Silent()).message == "<Silent>"
    cut = build_signal(message="x" * (MESSAGE_LIMIT + 7)).message
    assert cut == "x" * MESSAGE_LIMIT + "… (7 more characters)"


class BrokenZone(tzinfo):
    """A time zone that knows no offset."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        raise ValueError(when)

    dst = utcoffset

    def tzname(self, when: datetime | None) -> str:
        raise ValueError(when)


@pytest.mark.parametrize(
    ("moment", "hour"),
    [
        (datetime(2026, 1, 1, 12), 12),  # noqa: DTZ001
        (datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), 10),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=2))), 0),
        (datetime(2026, 1, 1, 12, tzinfo=BrokenZone()), 12),
    ],
)
def test_the_moment_is_aware_and_in_utc(moment: datetime, hour: int) -> None:
    for signal in (
        InterruptSignal(reason=InterruptReason.CUSTOM, triggered_at=moment),
        build_signal(triggered_at=moment),
    ):
        assert signal.triggered_at.tzinfo is UTC
        assert signal.triggered_at.hour == hour


@given(st.one_of(st.none(), st.text(), st.binary(), st.integers(), st.floats(), st.datetimes(), st.lists(st.text())))
def test_whatever_it_is(value: Any) -> None:
    for signal in (build_signal(*[value] * 5), as_signal(value)):
        assert InterruptSignal.model_validate_json(signal.model_dump_json()) == signal


class Extended(InterruptSignal):
    """A program's own signal, with what no other process understands."""

    payload: object = None


@pytest.mark.parametrize(
    "signal",
    [
        Extended(reason=InterruptReason.TIMEOUT, message="m", payload=object()),
        InterruptSignal.model_construct(reason="timeout", message=None, triggered_at="now"),
        InterruptSignal.model_construct(),
        InterruptSignal.model_construct(reason=InterruptReason.TIMEOUT, message="x" * 10**6, save_checkpoint=None),
        "stop",
        None,
    ],
    ids=["subclass", "wrong types", "empty", "huge", "text", "nothing"],
)
def test_what_is_tripped_or_raised_becomes_a_sound_signal(signal: Any) -> None:
    state = ExecutionState()
    assert state.set_signal(signal)
    for sound in (state.interrupt_signal, ExecutionInterrupted(signal).signal):
        assert type(sound) is InterruptSignal
        assert InterruptSignal.model_validate_json(sound.model_dump_json()) == sound
    with pytest.raises(ExecutionInterrupted):
        state.raise_if_interrupted()


def test_a_sound_signal_stays_the_same_object() -> None:
    signal = InterruptSignal(reason=InterruptReason.CUSTOM)
    assert public(as_signal(signal)) is signal


@pytest.mark.parametrize("text", ["", "{", "[]", b"\xff", '{"reason": "lunch"}'])
def test_a_stored_signal_that_cannot_be_read_still_interrupts(text: str | bytes) -> None:
    assert read_signal(text).reason is InterruptReason.CUSTOM


@pytest.mark.parametrize("message", [None, 7, Silent(), b"late"])
def test_a_time_limit_with_an_odd_message(message: Any) -> None:
    now = [0.0]
    state = ExecutionState(clock=lambda: now[0])
    state.set_timeout(1, message)
    now[0] = 2.0
    with pytest.raises(ExecutionInterrupted) as caught:
        state.raise_if_interrupted()
    assert caught.value.reason is InterruptReason.TIMEOUT

"""The signal as the machinery carries it is the InterruptSignal without pydantic: same fields, same JSON, equal."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.records import TaskOutcome
from orchestrator.outcome import Outcome
from runtime.errors import ExecutionInterrupted
from runtime.execution.state import ExecutionState
from runtime.interrupt_signal import as_signal, read_signal
from runtime.model import ExecutionResult, ExecutionStatus, InterruptEvent, InterruptReason, InterruptSignal
from runtime.plain_signal import PlainSignal, decode_signal, is_signal, plain, public

AT = datetime(2026, 11, 27, 12, 30, 15, 1200, tzinfo=UTC)
MOMENTS: st.SearchStrategy[datetime] = st.one_of(st.datetimes(), st.datetimes(timezones=st.just(UTC))).filter(
    lambda moment: 1970 < moment.year < 9999
)
FIELDS = st.fixed_dictionaries(
    {
        "reason": st.sampled_from(InterruptReason),
        "message": st.text(st.characters(codec="utf-8")) | st.just("a name \udcff of bytes"),
        "triggered_at": MOMENTS | st.just(datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))),
        "triggered_by": st.text(st.characters(codec="utf-8")),
        "save_checkpoint": st.booleans(),
    }
)


@given(FIELDS)
def test_both_have_the_same_fields_and_json(fields: dict[str, object]) -> None:
    made, model = PlainSignal(**fields), InterruptSignal(**fields)  # type: ignore[arg-type]
    assert made == model
    assert model == made
    assert made.model_dump() == model.model_dump()
    assert made.model_dump(mode="json") == model.model_dump(mode="json")
    assert made.model_dump_json() == model.model_dump_json()
    assert decode_signal(model.model_dump_json()) == made
    assert InterruptSignal.model_validate_json(made.model_dump_json()) == public(made)
    assert repr(public(made)) == repr(model)


def test_the_defaults_are_those_of_the_model() -> None:
    made, model = PlainSignal(reason=InterruptReason.CUSTOM), InterruptSignal(reason=InterruptReason.CUSTOM)
    assert made.model_dump() | {"triggered_at": AT} == model.model_dump() | {"triggered_at": AT}
    assert made.triggered_at.tzinfo is UTC
    assert list(made.model_dump()) == list(model.model_dump())


def test_it_is_frozen_and_equal_ones_have_equal_hashes() -> None:
    made, same = (PlainSignal(reason=InterruptReason.TIMEOUT, triggered_at=AT) for _ in range(2))
    assert made == same
    assert hash(made) == hash(same)
    assert made != PlainSignal(reason=InterruptReason.TIMEOUT, triggered_at=AT, message="other")
    with pytest.raises(AttributeError):
        made.message = "changed"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_it_can_be_copied_and_sent(duplicate: object) -> None:
    made = PlainSignal(reason=InterruptReason.CUSTOM, message="m", triggered_at=AT)
    assert public(made) == made
    assert duplicate(made) == made  # type: ignore[operator]


def test_a_copy_has_other_values_and_another_public_signal() -> None:
    made = PlainSignal(reason=InterruptReason.CUSTOM, message="m" * 10, triggered_at=AT)
    assert public(made).message == "m" * 10
    changed = made.model_copy(update={"message": "m"})
    assert (changed.message, public(changed).message) == ("m", "m")


def test_a_public_signal_is_always_the_same_object_and_of_the_models_own_class() -> None:
    made = PlainSignal(reason=InterruptReason.CUSTOM)
    assert public(made) is public(made)
    assert type(public(made)) is InterruptSignal
    given_one = InterruptSignal(reason=InterruptReason.CUSTOM)
    assert public(plain(given_one)) is given_one
    assert public(given_one) is given_one
    assert public(None) is None
    assert plain(made) is made


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"reason": "no such"}', '{"reason": "timeout", "more": 1}', b"\xff", "[" * 9999]
)
def test_what_is_no_signal_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="no signal"):
        decode_signal(text)
    assert read_signal(text).reason is InterruptReason.CUSTOM


def test_signals_are_told_from_other_values() -> None:
    assert is_signal(PlainSignal(reason=InterruptReason.CUSTOM))
    assert is_signal(InterruptSignal(reason=InterruptReason.CUSTOM))
    assert not is_signal("custom")
    assert not is_signal(None)


SIGNAL = PlainSignal(reason=InterruptReason.TIMEOUT, message="m", triggered_at=AT)
OUTCOME = TaskOutcome(seq=1, key="k", status=ExecutionStatus.INTERRUPTED, attempts=1, signal=SIGNAL)


def _of_state() -> InterruptSignal | None:
    state = ExecutionState()
    state.set_signal(SIGNAL)
    return state.interrupt_signal


@pytest.mark.parametrize(
    "read",
    [
        lambda: ExecutionInterrupted(SIGNAL).signal,
        _of_state,
        lambda: InterruptEvent(signal=SIGNAL).signal,
        lambda: replace(InterruptEvent(signal=SIGNAL), address="a").signal,
        lambda: ExecutionResult(ok=False, status=ExecutionStatus.INTERRUPTED, signal=SIGNAL).signal,
        lambda: Outcome.from_record(OUTCOME).signal,
        lambda: Outcome.from_record(Outcome.from_record(OUTCOME)).signal,
    ],
)
def test_whoever_reads_a_signal_gets_the_model(read: object) -> None:
    signal = read()  # type: ignore[operator]
    assert type(signal) is InterruptSignal
    assert signal == SIGNAL


def test_a_subclass_of_the_model_becomes_a_plain_model() -> None:
    class Mine(InterruptSignal):
        more: int = 3

    assert type(public(as_signal(Mine(reason=InterruptReason.CUSTOM)))) is InterruptSignal

"""Arrays of results: each is read once, in any order, and takes no other with it."""

import os
from typing import Any

import numpy as np
import pytest

from orchestrator.joblib.result_memory import ResultMemory, make_result_memory
from runtime import array_call
from runtime.array_call import PackedResult, call_packed
from runtime.ipc import pickling, shared_memory
from runtime.process import marks


@pytest.fixture(autouse=True)
def slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the executor, too."""
    monkeypatch.setenv(marks.SLOT_VARIABLE, marks.slot_mark(1, 0))


def _result(memory: ResultMemory, value: Any) -> PackedResult:
    packed = call_packed(pickling.dump(lambda: value), memory.place)
    assert isinstance(packed, PackedResult)
    return packed


def test_results_are_read_in_any_order() -> None:
    """Futures end in several threads: the later result may be read before the earlier one."""
    memory = ResultMemory(2, 10)
    packed = [_result(memory, [np.full(100, number), np.full(10_000, number)]) for number in range(4)]
    assert [one.slot for one in packed] == [1] * 4
    for number in (3, 0, 2, 1):
        short, long = memory.unpack(packed[number])
        assert set(short) == set(long) == {number}
    fd = memory.place.segments[1].fd
    assert os.fstat(fd).st_blocks == 0


def test_what_has_no_large_array_has_no_place() -> None:
    memory = ResultMemory(2, 10_000)
    packed = _result(memory, {"a": np.arange(3)})
    assert packed.slot is None
    assert memory.unpack(packed)["a"].tolist() == [0, 1, 2]


def test_an_executor_without_memory_sends_the_array_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(array_call, "append_array", fail)
    memory = ResultMemory(2, 10)
    packed = _result(memory, np.arange(1000))
    assert packed.slot is None
    assert memory.unpack(packed).sum() == 499_500


def test_a_process_that_is_no_executor_has_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(marks.SLOT_VARIABLE)
    assert array_call.own_slot() is None
    memory = ResultMemory(1, 10)
    assert _result(memory, np.arange(1000)).slot is None


def test_no_memory_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "MOST_SEGMENTS", 0)
    assert make_result_memory(2, 10) is None
    assert make_result_memory(2, None) is None

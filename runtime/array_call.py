"""Call a function in an executor whose arguments and result have large arrays: these do not go through the pipe."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from runtime.ipc import pickling
from runtime.ipc.shared_arrays import append_array, array_reducer
from runtime.ipc.shared_memory import SegmentPlace, SharedMemoryLost
from runtime.process import marks


class ResultPlace(NamedTuple):
    """Where results of `least` bytes and more go: one segment for each slot, since each has one writer at a time."""

    segments: tuple[SegmentPlace, ...]
    least: int


class PackedResult(NamedTuple):
    """A pickled result; the slot whose segment has its arrays, and from where to where. No slot: it has none."""

    data: bytes
    slot: int | None
    start: int = 0
    end: int = 0


def call_packed(data: bytes, results: ResultPlace | None) -> Any:
    """Unpickle a callable, call it, and return its result: packed if there is a place for it.

    Raises what it raises, and SharedMemoryLost if its arrays cannot be opened here: then nothing was called.
    """
    result = pickling.load(data)()
    return result if results is None else _pack(result, results)


class StoredCall:
    """One call as a journal keeps it: pickled, its large arrays named by their content.

    It has the name of the function that it calls, for logs and keys.
    """

    def __init__(self, module: str, name: str, data: bytes) -> None:
        self.__module__, self.__qualname__ = module, name
        self._data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredCall, (self.__module__, self.__qualname__, self._data)

    def __call__(self, _content: str) -> Any:
        """Return what the only call of a batch returns. Raises as `call_packed` does.

        The argument is the hash of what is called: calls of one name differ by it.
        """
        (result,) = pickling.load(self._data)()
        return result


def _pack(result: Any, results: ResultPlace) -> PackedResult:
    slot = own_slot()
    ranges: list[range] = []

    def share(array: Any) -> Any:
        if slot is None or slot >= len(results.segments):
            return NotImplemented
        try:
            reduction, written = append_array(results.segments[slot], array)
        except (OSError, SharedMemoryLost):  # no memory left, or the caller is gone: by the pipe then
            return NotImplemented
        ranges.append(written)
        return reduction

    packed = pickling.dump(result, array_reducer(results.least, share, is_result=True))
    return PackedResult(packed, slot, ranges[0].start, ranges[-1].stop) if ranges else PackedResult(packed, None)


def own_slot() -> int | None:
    """Return the slot of the executor that this is, None if it is none."""
    number = os.environ.get(marks.SLOT_VARIABLE, "").partition(".")[0]
    return int(number) if number.isdigit() else None

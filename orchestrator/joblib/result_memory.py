"""Where executors put large arrays of results, owned by the caller: nothing is left, whichever process dies."""

from __future__ import annotations

from typing import Any

from runtime.array_call import PackedResult, ResultPlace
from runtime.ipc import pickling
from runtime.ipc.shared_memory import Segment


class ResultMemory:
    """Own one segment for each slot. Its executor appends arrays; they are copied out, and their pages given back.

    An executor has one task at a time, and one segment has one executor at a time, so each has one writer. Results are
    read in any order, by any thread, and each gives back its own pages only. What an attempt wrote that failed
    afterwards is given back with the segment.

    Raises OSError where there is no shared memory to be had.
    """

    def __init__(self, slots: int, least: int) -> None:
        self._segments = [Segment() for _ in range(slots)]
        self._least = least

    @property
    def place(self) -> ResultPlace:
        """Return what executors need to know."""
        return ResultPlace(tuple(segment.place for segment in self._segments), self._least)

    def unpack(self, result: PackedResult) -> Any:
        """Return the value of a result. Executes code, as unpickling does."""
        try:
            return pickling.load(result.data)
        finally:
            if result.slot is not None:
                self._segments[result.slot].discard(result.start, result.end)


def make_result_memory(slots: int, least: int | None) -> ResultMemory | None:
    """Return memory for results of more than `least` bytes; None if they go through the pipe."""
    if least is None:
        return None
    try:
        return ResultMemory(slots, least)
    except OSError:
        return None

"""Keep large arrays of tasks in shared memory, in the caller's process: each once, as long as it does not change."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import threading
import weakref
from typing import Any, NamedTuple

from runtime.errors import UsageError
from runtime.ipc import pickling
from runtime.ipc.pickling import ReduceFirst
from runtime.ipc.shared_arrays import MODES, Layout, address, array_reducer, contiguous, open_array, open_named_array
from runtime.ipc.shared_memory import Segment

try:
    _memcmp: Any = ctypes.CDLL(None).memcmp
    _memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
except (OSError, AttributeError):  # no C library to be had: arrays are copied for each call
    _memcmp = None


class SharedArray(NamedTuple):
    """An array's copy."""

    segment: Segment
    layout: Layout
    name: str | None


class ArrayShare:
    """Put arrays of more than `least` bytes into shared memory; those that are there already are not copied again.

    An array that an earlier `Parallel` call has shared is compared with its copy, byte by byte: a program may change it
    between two calls, and each must get what it was given. (joblib goes by the array's identity, and hands out what it
    was at first.) Within one call the identity is enough: joblib reads the inputs ahead, so that a program that changes
    an array meanwhile cannot know which call gets what. With `mode` "r+" all calls write into one copy on purpose.

    least: None shares nothing. mode: what executors may do with an array, one of shared_arrays.MODES. by_content: an
    array is found by the hash of its bytes, not by its place: so equal calls have equal pickles in each start of a
    program. What executors write into such an array they write for themselves alone.
    """

    def __init__(self, least: int | None, mode: str, *, by_content: bool = False) -> None:
        if mode not in MODES:
            raise UsageError(f"mmap_mode = {mode!r}: give one of {', '.join(MODES)}, or None")
        self._least = least
        self._by_content = by_content
        if by_content and mode in ("r+", "w+"):
            mode = "c"
        self._mode = "r+" if mode == "w+" else mode  # "w+" would erase what was handed in
        self._is_common = self._mode == "r+"
        self._known: dict[int, tuple[weakref.ref[Any], SharedArray]] = {}
        self._checked: set[int] = set()
        self._lock = threading.RLock()

    def dump(self, value: Any, reduce_first: ReduceFirst | None = None) -> tuple[bytes, list[Segment]]:
        """Pickle a value. Return the bytes, and the segments that must be kept as long as they are of use.

        `reduce_first` is asked for each object before this is, as that of `pickling.dump`.
        """
        used: list[Segment] = []

        def share(array: Any) -> Any:
            try:
                shared = self._share(array)
            except OSError:  # no memory, no descriptor, no /proc: by the pipe
                return NotImplemented
            used.append(shared.segment)
            if shared.name is not None:
                return open_named_array, (shared.name, shared.layout, self._mode)
            return open_array, (shared.segment.place, shared.layout, self._mode)

        reduce_array = array_reducer(self._least, share, is_result=False)

        def reduce(value: Any) -> Any:
            reduced = NotImplemented if reduce_first is None else reduce_first(value)
            return reduce_array(value) if reduced is NotImplemented else reduced

        with self._lock:
            return pickling.dump(value, reduce_array if reduce_first is None else reduce), used

    def begin_call(self) -> None:
        """Note that arrays may have changed since they were shared."""
        with self._lock:
            self._checked.clear()

    def clear(self) -> None:
        """Forget all arrays. Their memory goes with the last task that uses it."""
        with self._lock:
            self._known.clear()

    def _share(self, array: Any) -> SharedArray:
        key, known = id(array), self._known
        reference, shared = known.get(key, (None, None))
        is_known = shared is not None and reference is not None and reference() is array
        if shared is not None and is_known and (self._is_common or key in self._checked):
            return shared
        layout, flat = contiguous(array)
        if shared is not None and is_known and shared.layout == layout and _is_same(flat, shared.segment):
            self._checked.add(key)
            return shared
        name = f"quiesce-{hashlib.sha256(flat).hexdigest()}" if self._by_content else None
        segment = Segment() if name is None else Segment(name)
        segment.fill(memoryview(flat), is_final=not self._is_common)
        shared = SharedArray(segment, layout, name)
        known[key] = weakref.ref(array, lambda _: known.pop(key, None)), shared
        self._checked.add(key)
        return shared


def _is_same(flat: Any, segment: Segment) -> bool:
    if _memcmp is None:
        return False
    copy = importlib.import_module("numpy").frombuffer(segment.map_read_only(), "u1")
    return bool(_memcmp(address(flat), address(copy), len(flat)) == 0)

"""Pickle numpy arrays by where their bytes are: in shared memory, or in a file that is mapped anyway.

numpy is never imported for its own sake: a value without arrays costs nothing here.

What each array does (`choose_way`): one that maps a file travels as the file's path and place, whatever its size; a
large one is handed to a function that puts its bytes into shared memory; any other is pickled as always. On the other
side all of the first two are `numpy.memmap`.
"""

from __future__ import annotations

import importlib
import mmap
import os
import sys
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from runtime.ipc.shared_memory import (
    SegmentPlace,
    find_segment,
    map_segment,
    next_page,
    open_segment,
    read_at,
    write_at,
)

_ACCESS: Final = {"r": mmap.ACCESS_READ, "r+": mmap.ACCESS_WRITE, "w+": mmap.ACCESS_WRITE, "c": mmap.ACCESS_COPY}

MODES: Final = tuple(_ACCESS)
"""How the other side may use an array: read, write for all, or write for itself alone (`c`). Names of numpy's."""


class Layout(NamedTuple):
    """How an array is made of contiguous bytes."""

    dtype: Any
    shape: tuple[int, ...]
    is_fortran: bool

    @property
    def order(self) -> str:
        """Return numpy's letter."""
        return "F" if self.is_fortran else "C"


class Way(Enum):
    """How an array travels."""

    BY_FILE = auto()
    SHARED = auto()
    PICKLED = auto()


def choose_way(size: int, least: int | None, *, has_objects: bool, is_mapped_file: bool) -> Way:
    """Decide how an array of `size` bytes travels; `least` are the bytes from which it is worth sharing. Pure."""
    if has_objects:
        return Way.PICKLED
    if is_mapped_file:
        return Way.BY_FILE
    return Way.SHARED if least is not None and size > least else Way.PICKLED


_PROC: Final = "/proc/"

Share = Callable[[Any], Any]
"""Take an array, contiguous or not. Return a reduction, or NotImplemented to have it pickled."""


def array_reducer(least: int | None, share: Share, *, is_result: bool) -> Callable[[Any], Any]:
    """Return what `pickling.dump` asks first. `is_result`: the value outlives what the caller shares for a task."""

    def reduce_array(value: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is None or type(value) not in (numpy.ndarray, numpy.memmap):
            return NotImplemented
        mapped = _mapped_file(numpy, value)
        is_mapped_file = mapped is not None and not (is_result and os.fspath(mapped.filename).startswith(_PROC))
        way = choose_way(value.nbytes, least, has_objects=value.dtype.hasobject, is_mapped_file=is_mapped_file)
        if way is Way.BY_FILE:
            return _reduce_to_file(value, mapped)
        reduced = share(value) if way is Way.SHARED else NotImplemented
        if reduced is NotImplemented and type(value) is numpy.memmap:
            return numpy.array(value).__reduce_ex__(5)  # a memmap would be one of nothing on the other side
        return reduced

    return reduce_array


# -- in shared memory -------------------------------------------------------------------------------


def contiguous(array: Any) -> tuple[Layout, Any]:
    """Return an array's layout, and a flat array of its bytes; those of a copy if the array has gaps."""
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    if not is_fortran and not array.flags.c_contiguous:
        array = array.copy(order="C")
    flat = array.reshape(-1, order="F" if is_fortran else "C").view("u1")
    return Layout(array.dtype, array.shape, is_fortran), flat


def address(array: Any) -> int:
    """Return where the first element of an array is."""
    return int(array.__array_interface__["data"][0])


def open_array(place: SegmentPlace, layout: Layout, mode: str) -> Any:
    """Return the array that is a whole segment. Raises SharedMemoryLost."""
    memory = map_segment(place, _ACCESS[mode])
    return _as_memmap(memory, layout, mode, f"{_PROC}{place.pid}/fd/{place.fd}", 0)


def open_named_array(name: str, layout: Layout, mode: str) -> Any:
    """Return the array that is a whole segment of the program, found by its name. Raises SharedMemoryLost.

    So what a journal keeps of a call does not say where an array is in this start of the program.
    """
    parent = importlib.import_module("multiprocessing").parent_process()
    return open_array(find_segment(os.getpid() if parent is None else parent.pid, name), layout, mode)


def append_array(place: SegmentPlace, array: Any) -> tuple[Any, range]:
    """Write an array behind what a segment of another process has. Return the reduction that reads it, and its bytes.

    Raises SharedMemoryLost or OSError.
    """
    layout, flat = contiguous(array)
    fd = open_segment(place, to_write=True)
    try:
        start = next_page(fd)
        end = write_at(fd, memoryview(flat), start)
    finally:
        os.close(fd)
    return (read_array, (place, start, layout)), range(start, end)


def read_array(place: SegmentPlace, start: int, layout: Layout) -> Any:
    """Return a copy of an array, which belongs to the caller alone. Raises SharedMemoryLost."""
    numpy = importlib.import_module("numpy")
    array = numpy.empty(layout.shape, layout.dtype, order=layout.order)
    fd = open_segment(place)
    try:
        read_at(fd, memoryview(array.reshape(-1, order=layout.order).view("u1")), start)
    finally:
        os.close(fd)
    return array


def _as_memmap(memory: Any, layout: Layout, mode: str, path: str, offset: int) -> Any:
    numpy = importlib.import_module("numpy")
    array = numpy.ndarray.__new__(numpy.memmap, layout.shape, layout.dtype, memory, order=layout.order)
    array._mmap, array.mode, array.filename, array.offset = memory, mode, path, offset  # noqa: SLF001 - as numpy does
    return array


# -- in a file --------------------------------------------------------------------------------------


def _mapped_file(numpy: Any, array: Any) -> Any:
    """Return the memmap under an array or a view of one, None if there is none, or its file is not there any more."""
    base = array
    while isinstance(base, numpy.ndarray):
        if type(base) is numpy.memmap and isinstance(base.base, mmap.mmap):
            has_file = isinstance(base.filename, str | os.PathLike) and base.mode in ("r", "r+", "w+")
            return base if has_file and _is_whole(base) else None
        base = base.base
    return None


def _is_whole(mapped: Any) -> bool:
    try:
        return bool(os.stat(mapped.filename).st_size >= mapped.offset + mapped.nbytes)
    except OSError:
        return False


def span(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, int]:
    """Return how many bytes an array has before its first element, and from there on. Pure."""
    steps = [stride * (length - 1) for length, stride in zip(shape, strides, strict=True)]
    return -sum(step for step in steps if step < 0), sum(step for step in steps if step > 0) + itemsize


def _reduce_to_file(array: Any, mapped: Any) -> Any:
    before, behind = span(array.shape, array.strides, array.itemsize)
    start = address(array) - before - address(mapped) + mapped.offset
    mode = "r+" if mapped.mode == "w+" else mapped.mode
    arguments = (
        os.fspath(mapped.filename),
        mode,
        start,
        before + behind,
        before,
        array.dtype,
        array.shape,
        array.strides,
    )
    return map_file, arguments


def map_file(
    path: str,
    mode: str,
    start: int,
    size: int,
    first: int,
    dtype: Any,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> Any:
    """Map `size` bytes of a file, and return the array in them whose first element is at `first`."""
    numpy = importlib.import_module("numpy")
    whole = numpy.memmap(path, "u1", mode, start, (size,))
    array = numpy.ndarray.__new__(numpy.memmap, shape, dtype, whole, first, strides)
    array._mmap, array.mode, array.filename, array.offset = whole._mmap, mode, whole.filename, start + first  # noqa: SLF001
    return array

"""Who can write to the interrupt flag, and what is believed of what stands there."""

from __future__ import annotations

import gc
import math
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Iterator

import pytest

from runtime.ipc.flag import _PROGRESS_AT, InterruptFlag
from runtime.model import InterruptReason, InterruptSignal

SIGNAL = InterruptSignal(reason=InterruptReason.CUSTOM, message="no more")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="memfd_create(2) is Linux's")


@pytest.fixture
def flag() -> Iterator[InterruptFlag]:
    flag = InterruptFlag(3)
    yield flag
    gc.collect()
    flag.close()


@linux_only
def test_a_sealed_flag_has_no_new_writers_and_keeps_its_old_ones(flag: InterruptFlag) -> None:
    assert flag.seal()
    for fd in (flag.fd, os.open(f"/proc/self/fd/{flag.fd}", os.O_RDWR)):
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"\x01", 4096)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        with pytest.raises(PermissionError):
            mmap.mmap(fd, 4096)
    os.close(fd)
    flag.raise_all(SIGNAL)
    assert flag.byte(2).value


@linux_only
def test_an_executor_sees_all_and_can_write_to_its_own_page_only(flag: InterruptFlag) -> None:
    flag.seal()
    child = os.fork()
    if child == 0:
        try:
            flag.restrict(1)
            flag.set_current_task(1, 7)
            os.kill(os.getpid(), signal.SIGSTOP)  # until the flag is up
            seen = bool(flag.byte(1)) and flag.signal(1) == SIGNAL
            os._exit(0 if seen and not _has_more_than_its_page() else 1)
        finally:
            os._exit(2)
    os.waitpid(child, os.WUNTRACED)
    flag.raise_all(SIGNAL)
    os.kill(child, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [flag.progress(slot)[0] for slot in range(3)] == [0, 7, 0]


def _has_more_than_its_page() -> bool:
    """Whether this process has more of the flag mapped for writing than one page."""
    with open("/proc/self/maps") as maps:
        rows = [line.split() for line in maps if "quiesce-flag" in line]
    sizes = [[int(part, 16) for part in where.split("-")] for where, rights, *_ in rows if rights[1] == "w"]
    return [end - start for start, end in sizes] != [mmap.PAGESIZE]


def test_a_renewed_flag_keeps_what_was_raised_and_can_be_mapped(flag: InterruptFlag) -> None:
    flag.seal()
    flag.raise_all(SIGNAL)
    flag.set_current_task(0, 7)
    flag.renew()
    mmap.mmap(flag.fd, 4096).close()
    assert flag.byte(0).value
    assert flag.signal(0) == SIGNAL
    assert flag.progress(0) == (0, 0.0, 0.0)


@pytest.mark.parametrize("time_written", [math.nan, math.inf, -1.0, pytest.param(time.monotonic() + 1e6, id="future")])
def test_times_that_cannot_be_are_none(flag: InterruptFlag, time_written: float) -> None:
    flag._memory[_PROGRESS_AT : _PROGRESS_AT + 24] = struct.pack("=Qdd", 5, time_written, time_written)
    assert flag.progress(0) == (5, 0.0, 0.0)


def test_what_tasks_report_of_their_progress_is_read_by_task_and_attempt(flag: InterruptFlag) -> None:
    flag.report_progress(1, 5, 1, 3, 10)
    flag.report_progress(1, 6, 2, 0.5, None)
    assert flag.reported_progress(1, 5, 1) == (3, 10)
    assert flag.reported_progress(1, 6, 2) == (0.5, None)
    others = [(0, 5, 1), (1, 5, 2), (1, 5 + 126, 1), (1, 0, 1)]
    assert [flag.reported_progress(*other) for other in others] == [None] * 4
    flag.report_progress(1, 5 + 126, 1, 7, 8)
    assert flag.reported_progress(1, 5, 1) is None, "another task of the slot has its place"
    assert flag.progress(1) == (0, 0.0, 0.0)


def test_a_new_executor_has_reported_nothing(flag: InterruptFlag) -> None:
    for slot in (0, 1):
        for task in range(1000):
            flag.report_progress(slot, task, 1, 1, 2)
    flag.reset_slot(1)
    assert [flag.reported_progress(1, task, 1) for task in range(1000)] == [None] * 1000
    assert flag.reported_progress(0, 999, 1) == (1, 2)


def test_after_its_end_a_flag_has_no_reports() -> None:
    flag = InterruptFlag(1)
    flag.close()
    assert flag.reported_progress(0, 1, 1) is None

"""The interrupt flag: bytes in anonymous shared memory, and what stands beside them.

One byte per slot, written by the supervisor only (or by the guardian, its heir), read by the executors.
0 means go on; anything else is the code of an InterruptReason. There is no name to leak and no lock to die
with (cpython#82300, cpython#126434): a raise is one slice assignment, a look is one read.

Each page has one writer, and an agent cannot be another one. Supervisor and guardian map everything for writing;
then the memory is sealed (`seal`): its size is fixed, and no later mapping or write through a descriptor can change it.
Each executor maps everything but the page of its own slot read-only (`restrict`), before any agent is loaded: what it
writes elsewhere ends it by SIGSEGV. Without memfd or seals (before Linux 5.1, macOS) the descriptor stays writable for
an agent that looks for it; without Linux the mappings do, too.

Layout, in bytes (native order; both sides are forks of one build), where a page is 4096 or what the host says:

    0     next_rung_at   f64   monotonic seconds of the ladder's next rung, 0.0 = none
    8     signal length  u32   of the JSON that follows
    12    signal         JSON  the InterruptSignal, written *before* any flag byte
    4096  flags          u8    one per slot
    8192  progress       one page per slot (from the next whole page on), written by that slot's executor only:
                         u64 task in hand (0 = none), f64 when it began, f64 last sign of life (monotonic);
                         then two u8 that the guardian sets: 1 = the SIGTERM that comes is the TERM rung;
                         1 = the executor is asked for its Python stacks, and has not written them yet;
                         from byte 64 on, what tasks reported of their progress: u64 task, u64 attempt, f64 done,
                         f64 total (nan = none), at the place that the task's number gives
"""

from __future__ import annotations

import ctypes
import fcntl
import math
import mmap
import os
import struct
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from runtime.limits import MAX_SLOTS
from runtime.plain_signal import PlainSignal, decode_signal
from runtime.reasons import InterruptReason

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

_RUNG = struct.Struct("=d")
_LENGTH = struct.Struct("=I")
_PROGRESS = struct.Struct("=Qdd")
_BEAT = struct.Struct("=d")
_SIGNAL_AT = 12
_FLAGS_AT = 4096
_PAGE = mmap.PAGESIZE
_PROGRESS_AT = max(8192, _PAGE)
_PROGRESS_SIZE = 32
_TERM_AT, _STACKS_AT = 24, 25  # within a slot's progress
_REPORT = struct.Struct("=QQdd")
_REPORTS_AT, _REPORTS = 64, 126  # likewise; how many find room in the smallest page
_MESSAGE_LIMIT = 1000  # characters; four bytes each still fit in front of the flags

_MAP_FIXED = 0x10  # mmap(2)
_F_SEAL_FUTURE_WRITE = 0x10  # fcntl(2); not in Python's fcntl before 3.13

_libc: ctypes.CDLL | None
try:
    _libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
except OSError:  # a sandbox without one
    _libc = None


def anonymous_file(name: str, size: int = 0) -> int:
    """Return a descriptor of `size` zeroed bytes of memory that has no path; `name` is shown by debuggers."""
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError):  # macOS, or a sandbox: an unlinked temporary file is the nearest thing
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class InterruptFlag:
    """The shared flag as its owner sees it; `fd` is inherited by the processes that share it.

    Map the same memory in another process with `InterruptFlag(slots, fd)`.
    """

    def __init__(self, slots: int, fd: int | None = None) -> None:
        if not 1 <= slots <= MAX_SLOTS:
            raise ValueError(f"slots must be between 1 and {MAX_SLOTS}, not {slots}")
        self._size = _PROGRESS_AT + slots * _PAGE
        self.slots = slots
        self.fd = anonymous_file("quiesce-flag", self._size) if fd is None else fd
        self._memory = mmap.mmap(self.fd, self._size)

    def renew(self) -> None:
        """Move signal and flags to new memory, without any progress: sealed memory has no new writers."""
        old_fd, old = self.fd, self._memory
        self.fd = anonymous_file("quiesce-flag", self._size)
        self._memory = mmap.mmap(self.fd, self._size)
        self._memory[:_PROGRESS_AT] = old[:_PROGRESS_AT]
        old.close()
        os.close(old_fd)

    def close(self) -> None:
        """Let go of the memory. It is gone when the last process that shares it is gone."""
        os.close(self.fd)
        self._memory.close()

    # -- protection ---------------------------------------------------------------------------------

    def seal(self) -> bool:
        """Fix the size, and forbid mappings and descriptors that can write. Those mapped before can go on writing.

        False where the host cannot do so.
        """
        if not hasattr(fcntl, "F_ADD_SEALS"):
            return False
        size = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
        try:
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, size | _F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL)
        except OSError:
            return False
        return True

    def restrict(self, slot: int) -> None:
        """In the executor of a slot: make all pages but its own read-only in this process and what it forks.

        Without a C library everything stays writable.
        """
        own = self._at(slot)
        self._map_read_only(0, own)
        self._map_read_only(own + _PAGE, self._size)

    def _map_read_only(self, start: int, end: int) -> None:
        """Put a read-only mapping in place of the writable one. An agent can undo mprotect(2), but not this."""
        if start == end or _libc is None:
            return
        call = _libc.mmap
        call.restype = ctypes.c_void_p
        call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory)) + start
        mapped_at = call(address, end - start, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, self.fd, start)
        if mapped_at != address:
            raise OSError(ctypes.get_errno(), "the interrupt flag cannot be mapped read-only")

    def _at(self, slot: int) -> int:
        """Return the offset of a slot's own page."""
        return _PROGRESS_AT + slot * _PAGE

    # -- the owner's side ---------------------------------------------------------------------------

    def raise_all(self, signal: InterruptSignal) -> None:
        """Raise the flag of every slot. The reason is readable before the first byte is up."""
        self._write_signal(signal)
        self._memory[_FLAGS_AT : _FLAGS_AT + self.slots] = bytes([signal.reason.code]) * self.slots

    def set_next_rung(self, at: float | None) -> None:
        """Tell the executors when the ladder's next rung comes (monotonic seconds), None when there is none."""
        _RUNG.pack_into(self._memory, 0, at or 0.0)

    def progress(self, slot: int) -> tuple[int, float, float]:
        """Return a slot's running task (0 = none), its start and the last heartbeat (monotonic seconds).

        Its agent can write there, too: a time that cannot be true is 0.0.
        """
        task, since, beat = _PROGRESS.unpack_from(self._memory, self._at(slot))
        now = time.monotonic()
        return task, since if 0.0 <= since <= now else 0.0, beat if 0.0 <= beat <= now else 0.0

    def reported_progress(self, slot: int, task: int, attempt: int) -> tuple[float, float | None] | None:
        """Return `done` and `total` of a task's attempt as it reported them last, None if it did not.

        Of many tasks at once, one may have overwritten another's. None also after `close`.
        """
        try:
            found = _REPORT.unpack_from(self._memory, self._report_at(slot, task))
        except ValueError:
            return None
        if found[:2] != (task, attempt):
            return None
        return found[2], None if math.isnan(found[3]) else found[3]

    def _report_at(self, slot: int, task: int) -> int:
        return self._at(slot) + _REPORTS_AT + task % _REPORTS * _REPORT.size

    def reset_slot(self, slot: int) -> None:
        """Blank a slot's progress before a new executor takes it."""
        at = self._at(slot)
        self._memory[at : at + _PROGRESS_SIZE] = bytes(_PROGRESS_SIZE)
        reports = at + _REPORTS_AT
        self._memory[reports : reports + _REPORTS * _REPORT.size] = bytes(_REPORTS * _REPORT.size)

    def mark_term(self, slot: int) -> None:
        """Mark the next SIGTERM to this slot as the TERM rung, to tell it from a `kill` from outside."""
        self._memory[self._at(slot) + _TERM_AT] = 1

    def request_stacks(self, slot: int) -> None:
        """Ask the executor of a slot for its Python stacks."""
        self._memory[self._at(slot) + _STACKS_AT] = 1

    def _write_signal(self, signal: InterruptSignal) -> None:
        short = signal.model_copy(
            update={"message": signal.message[:_MESSAGE_LIMIT], "triggered_by": signal.triggered_by[:100]}
        )
        text = short.model_dump_json().encode()
        if len(text) > _FLAGS_AT - _SIGNAL_AT:  # escapes can make a character six bytes long
            text = short.model_copy(update={"message": short.message[:300]}).model_dump_json().encode()
        self._memory[_SIGNAL_AT : _SIGNAL_AT + len(text)] = text
        _LENGTH.pack_into(self._memory, 8, len(text))

    # -- the executors' side ------------------------------------------------------------------------

    def byte(self, slot: int) -> ctypes.c_ubyte:
        """Return a slot's flag as an object whose truth value *is* the byte in shared memory.

        ctypes compares the memory with zero in C, so `if byte:` costs about as much as `if attribute:`,
        a third less than indexing a memoryview or mmap (scripts/bench_checkpoints.py).
        """
        return ctypes.c_ubyte.from_buffer(self._memory, _FLAGS_AT + slot)

    def signal(self, slot: int) -> InterruptSignal:
        """Return the signal behind a raised flag; made of the byte's reason alone if the text cannot be read."""
        (length,) = _LENGTH.unpack_from(self._memory, 8)
        try:
            return decode_signal(self._memory[_SIGNAL_AT : _SIGNAL_AT + length])
        except ValueError:
            return PlainSignal(reason=InterruptReason.from_code(self._memory[_FLAGS_AT + slot]))

    def next_rung_at(self) -> float | None:
        """When the ladder's next rung comes (monotonic seconds), or None."""
        (at,) = _RUNG.unpack_from(self._memory, 0)
        return at or None

    def unmark_term(self, slot: int) -> None:
        """Clear the mark of the TERM rung: its SIGTERM was delivered."""
        self._memory[self._at(slot) + _TERM_AT] = 0

    def is_term_rung(self, slot: int) -> bool:
        """Return whether the TERM rung is marked for this slot and its SIGTERM is not delivered yet."""
        return self._memory[self._at(slot) + _TERM_AT] != 0

    def are_stacks_requested(self, slot: int) -> bool:
        """Whether the executor of a slot was asked for its Python stacks and has not answered."""
        return self._memory[self._at(slot) + _STACKS_AT] != 0

    def answer_stacks(self, slot: int) -> None:
        """Take the request for stacks back: it is answered."""
        self._memory[self._at(slot) + _STACKS_AT] = 0

    def set_current_task(self, slot: int, task: int) -> None:
        """Record the running task (0 = none), so that a crash is charged to it alone."""
        now = time.monotonic()
        _PROGRESS.pack_into(self._memory, self._at(slot), task, now, now)

    def report_progress(self, slot: int, task: int, attempt: int, done: float, total: float | None) -> None:
        """Show how far a task is. Never waits."""
        _REPORT.pack_into(
            self._memory, self._report_at(slot, task), task, attempt, done, math.nan if total is None else total
        )

    def heartbeat(self, slot: int) -> None:
        """Show a sign of life."""
        _BEAT.pack_into(self._memory, self._at(slot) + 16, time.monotonic())

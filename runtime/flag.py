"""The interrupt flag: bytes in anonymous shared memory, and what stands beside them.

One byte per slot, written by the supervisor only (or by the guardian, its heir), read by the executors.
0 means go on; anything else is the code of an InterruptReason. There is no name to leak and no lock to die
with (cpython#82300, cpython#126434): a raise is one slice assignment, a look is one read.

Layout, in bytes (native order; both sides are forks of one build):

    0     next_rung_at   f64   monotonic seconds of the ladder's next rung, 0.0 = none
    8     signal length  u32   of the JSON that follows
    12    signal         JSON  the InterruptSignal, written *before* any flag byte
    4096  flags          u8    one per slot
    8192  progress       32 bytes per slot, written by that slot's executor only:
                         u64 task in hand (0 = none), f64 when it began, f64 last sign of life (monotonic);
                         then a u8 that the guardian sets: 1 = the SIGTERM that comes is the TERM rung
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import tempfile
import time

from runtime.model import InterruptReason, InterruptSignal

_RUNG = struct.Struct("=d")
_LENGTH = struct.Struct("=I")
_PROGRESS = struct.Struct("=Qdd")
_BEAT = struct.Struct("=d")
_SIGNAL_AT = 12
_FLAGS_AT = 4096
_PROGRESS_AT = 8192
_PROGRESS_SIZE = 32
_TERM_AT = 24  # within a slot's progress
_MESSAGE_LIMIT = 1000  # characters; four bytes each still fit in front of the flags

MAX_SLOTS = _PROGRESS_AT - _FLAGS_AT
"""The largest number of slots one flag has room for."""


def anonymous_file(name: str, size: int = 0) -> int:
    """A file descriptor on `size` bytes of zeroed memory that has no name anywhere; `name` is for those who debug."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name)
    else:  # macOS: an unlinked temporary file is the nearest thing
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
        size = _PROGRESS_AT + slots * _PROGRESS_SIZE
        self.slots = slots
        self.fd = anonymous_file("quiesce-flag", size) if fd is None else fd
        self._memory = mmap.mmap(self.fd, size)

    def close(self) -> None:
        """Let go of the memory. It is gone when the last process that shares it is gone."""
        os.close(self.fd)
        self._memory.close()

    # -- the owner's side ---------------------------------------------------------------------------

    def raise_all(self, signal: InterruptSignal) -> None:
        """Raise the flag of every slot. The reason is readable before the first byte is up."""
        self._write_signal(signal)
        self._memory[_FLAGS_AT : _FLAGS_AT + self.slots] = bytes([signal.reason.code]) * self.slots

    def set_next_rung(self, at: float | None) -> None:
        """Tell the executors when the ladder's next rung comes (monotonic seconds), None when there is none."""
        _RUNG.pack_into(self._memory, 0, at or 0.0)

    def progress(self, slot: int) -> tuple[int, float, float]:
        """What a slot's executor last wrote: the task in hand (0 = none), since when, last sign of life."""
        task, since, beat = _PROGRESS.unpack_from(self._memory, _PROGRESS_AT + slot * _PROGRESS_SIZE)
        return task, since, beat

    def forget(self, slot: int) -> None:
        """Blank a slot's progress before a new executor takes it."""
        at = _PROGRESS_AT + slot * _PROGRESS_SIZE
        self._memory[at : at + _PROGRESS_SIZE] = bytes(_PROGRESS_SIZE)

    def mark_term(self, slot: int) -> None:
        """Say that the next SIGTERM to this slot is the TERM rung, and not somebody's stray `kill`."""
        self._memory[_PROGRESS_AT + slot * _PROGRESS_SIZE + _TERM_AT] = 1

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
        """A slot's flag as an object whose truth value *is* the byte in shared memory.

        ctypes compares the memory with zero in C, so `if byte:` costs about as much as `if attribute:`,
        a third less than indexing a memoryview or mmap (scripts/bench_checkpoints.py).
        """
        return ctypes.c_ubyte.from_buffer(self._memory, _FLAGS_AT + slot)

    def signal(self, slot: int) -> InterruptSignal:
        """The signal behind a raised flag; from the byte's reason alone if the text cannot be read."""
        (length,) = _LENGTH.unpack_from(self._memory, 8)
        try:
            return InterruptSignal.model_validate_json(self._memory[_SIGNAL_AT : _SIGNAL_AT + length])
        except ValueError:
            return InterruptSignal(reason=InterruptReason.from_code(self._memory[_FLAGS_AT + slot]))

    def next_rung_at(self) -> float | None:
        """When the ladder's next rung comes (monotonic seconds), or None."""
        (at,) = _RUNG.unpack_from(self._memory, 0)
        return at or None

    def unmark_term(self, slot: int) -> None:
        """It has come."""
        self._memory[_PROGRESS_AT + slot * _PROGRESS_SIZE + _TERM_AT] = 0

    def is_term_rung(self, slot: int) -> bool:
        """Whether the TERM rung was marked for this slot, and has not come yet."""
        return self._memory[_PROGRESS_AT + slot * _PROGRESS_SIZE + _TERM_AT] != 0

    def begin(self, slot: int, task: int) -> None:
        """Write down the task now in hand, so that a crash is charged to it and to nobody else."""
        now = time.monotonic()
        _PROGRESS.pack_into(self._memory, _PROGRESS_AT + slot * _PROGRESS_SIZE, task, now, now)

    def beat(self, slot: int) -> None:
        """Show a sign of life."""
        _BEAT.pack_into(self._memory, _PROGRESS_AT + slot * _PROGRESS_SIZE + 16, time.monotonic())

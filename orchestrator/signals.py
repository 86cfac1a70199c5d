"""OS signals become bytes on a pipe, and the pipe's reader makes stimuli of them. Nothing else happens here.

Python's own C-level handler writes the signal's number to the wake-up descriptor, at once, whatever the main
thread is doing; the Python-level handler only exists so that the default action does not happen. Where
somebody else has the wake-up descriptor already (an asyncio loop with its own handlers), the Python-level handler
writes the byte; then a main thread that is stuck in C code delays it.

Rejected: deciding, logging or locking in the handler (gunicorn#3198, loguru#390, cpython#126434).
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They end a run."""

_FROM_HANDLER = 0x80


class SignalPipe:
    """Takes over the signals of the process for a while; `restore` gives them back.

    Only the main thread may do either. A signal that was ignored when we came stays ignored: `nohup` and
    non-interactive shells mean it.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before: int | None = None
        self._from_wakeup: set[int] = set()

    @staticmethod
    def is_possible() -> bool:
        """Whether this thread may handle signals."""
        return threading.current_thread() is threading.main_thread()

    def install(self) -> None:
        """Handlers first, then the wake-up descriptor."""
        for signum in (*STOPPING, signal.SIGUSR1):
            before = signal.getsignal(signum)
            if before is not signal.SIG_IGN:
                self._before[signum] = before
                signal.signal(signum, self._handle)
        taken = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        if taken != -1:
            signal.set_wakeup_fd(taken, warn_on_full_buffer=False)
        else:
            self._wakeup_before = taken

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        try:
            os.write(self._write, bytes([signum | _FROM_HANDLER]))
        except BlockingIOError:  # a storm: what is in the pipe already says it
            pass

    def fileno(self) -> int:
        """Readable when `arrived` has something."""
        return self._read

    def arrived(self) -> list[signal.Signals]:
        """The signals since the last call. One that both ways reported counts once."""
        try:
            data = os.read(self._read, 4096)
        except BlockingIOError:
            return []
        found: list[signal.Signals] = []
        for byte in data:
            signum = byte & ~_FROM_HANDLER
            if byte & _FROM_HANDLER and signum in self._from_wakeup:
                self._from_wakeup.discard(signum)
                continue
            if not byte & _FROM_HANDLER:
                self._from_wakeup.add(signum)
            if signum in self._before:
                found.append(signal.Signals(signum))
        return found

    def restore(self) -> None:
        """Give the handlers and the wake-up descriptor back."""
        if self._wakeup_before is not None:
            signal.set_wakeup_fd(self._wakeup_before)
            self._wakeup_before = None
        for signum, handler in self._before.items():
            signal.signal(signum, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()

    def close(self) -> None:
        """Close the pipe, after `restore`."""
        os.close(self._read)
        os.close(self._write)


def die_by(signum: int) -> int:
    """End this process by a signal, as one that never handled it would, so that parents see the truth.

    As PID 1 the kernel ignores that: then, and only then, this returns, and 128 + n is the exit code to use.
    """
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    os.kill(os.getpid(), signum)
    return 128 + signum


def raise_again(name: str) -> None:
    """Raise a signal again whose handler was given back: the program goes on as if we had not been there."""
    os.kill(os.getpid(), signal.Signals[name])

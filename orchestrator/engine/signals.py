"""Turn OS signals into bytes on a pipe; its reader turns them into stimuli. Nothing else happens in a handler.

Python's own C-level handler writes the signal's number to the wake-up descriptor, at once, whatever the main
thread is doing; the Python-level handler only exists so that the default action does not happen. Where
other code has the wake-up descriptor already (an asyncio loop with its own handlers), the Python-level handler
writes the byte; then a main thread that is stuck in C code delays it.

Rejected: deciding, logging or locking in the handler (gunicorn#3198, loguru#390, cpython#126434).
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading

# that of `signal` makes an enum of every answer
from _signal import getsignal  # type: ignore[import-not-found]
from collections import Counter
from collections.abc import Iterable
from types import FrameType
from typing import Any, ClassVar

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a run, whatever `stop_on` says."""

STACKS = (signal.SIGQUIT, signal.SIGUSR1)
"""The signals that ask for stacks, unless `stop_on` has another use for them."""

SUSPEND = signal.SIGTSTP
"""The signal that suspends a run: Ctrl-Z. Its default action stops this process alone."""

_SIGNALS = tuple(sorted(map(int, signal.valid_signals())))

_SIGACTION_SIZE = 512
"""Bytes, more than any libc's struct sigaction."""

TOGETHER_SECONDS = 2.0
"""Seconds that a supervisor waits for the others in its process to be ready to be stopped."""

_FROM_HANDLER = 0x80


class SignalPipe:
    """Take over the signals of the process for a while; `restore` gives them back.

    Only the main thread may do either. A signal that was ignored before stays ignored: `nohup` and
    non-interactive shells mean it. One that was blocked is unblocked meanwhile: a mask is inherited by accident (a
    parent that blocked signals around its fork), and the signal would wait for ever (hping#61). There may be several
    at a time, in any order: each hears every signal, and the last one that leaves gives back what the first one found.
    """

    live: ClassVar[list[SignalPipe]] = []
    """The pipes that are installed, in the order of their installation."""
    _closing: ClassVar[threading.Lock] = threading.Lock()
    _together: ClassVar[threading.Condition] = threading.Condition()
    _ready: ClassVar[set[SignalPipe]] = set()

    def __init__(self, stop_on: Iterable[str] = ()) -> None:
        """Stop on the signals of these names (`SIGUSR1`), too. One that this host does not have never comes."""
        more = (getattr(signal, name, None) for name in stop_on)
        self.stopping = frozenset((*STOPPING, *(signum for signum in more if signum is not None)))
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self.previous_handlers: dict[signal.Signals, Any] = {}
        self.blocked: set[int] = set()
        """The signals that were blocked before, and are to be again."""
        self.has_wakeup = False
        self._ahead: Counter[int] = Counter()
        self.heard: set[int] = set()

    @staticmethod
    def is_possible() -> bool:
        """Return whether this thread may handle signals."""
        return threading.current_thread() is threading.main_thread()

    @classmethod
    def is_read_elsewhere(cls, signum: int) -> bool:
        """Return whether another supervisor in this process, which goes on, has read this signal."""
        return any(signum in pipe.heard for pipe in cls.live)

    def install(self) -> None:
        """Install the handlers first, then the wake-up descriptor."""
        self.live.append(self)  # first: from the first handler on, a signal is this pipe's too
        for signum in sorted(self.stopping | set(STACKS)):
            before = signal.getsignal(signum)
            if before is not signal.SIG_IGN:
                self.previous_handlers[signum] = before
                signal.signal(signum, _handler)
        if signal.getsignal(SUSPEND) in (signal.SIG_DFL, _handler):  # a program's own handler stays
            self.previous_handlers[SUSPEND] = signal.getsignal(SUSPEND)
            signal.signal(SUSPEND, _handler)
        self.claim_wakeup_fd()
        self.blocked = {signum for signum in _unblock(self.previous_handlers) if signum in self.previous_handlers}

    def claim_wakeup_fd(self) -> None:
        """Take the process's wake-up descriptor, unless another pipe or other code has it."""
        taken = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self.has_wakeup = taken == -1
        if not self.has_wakeup:
            signal.set_wakeup_fd(taken, warn_on_full_buffer=False)

    def write(self, byte: int) -> None:
        """Write a byte. Safe in a signal handler."""
        try:
            os.write(self._write, bytes([byte]))
        except BlockingIOError:  # a storm: the pipe says the same already
            pass

    def fileno(self) -> int:
        """Return the descriptor that is readable when `read` has something."""
        return self._read

    def read(self) -> list[signal.Signals]:
        """Return the signals since the last call. One that both ways reported counts once."""
        try:
            data = os.read(self._read, 4096)
        except BlockingIOError:
            return []
        arrived: list[signal.Signals] = []
        for byte in data:
            signum = byte & ~_FROM_HANDLER
            way = -1 if byte & _FROM_HANDLER else 1
            is_second = self._ahead[signum] * way < 0  # the other way has reported it already
            self._ahead[signum] += way
            if way > 0:
                self._forward(byte)
            if signum in self.previous_handlers and not is_second:
                self.heard.add(signum)
                arrived.append(signal.Signals(signum))
        return arrived

    def _forward(self, byte: int) -> None:
        """Forward a byte to the other pipes: a process has one wake-up descriptor, and theirs would come later."""
        if self.has_wakeup:
            with self._closing:
                for pipe in tuple(self.live):
                    if pipe is not self:
                        pipe.write(byte)

    def stop_process(self) -> None:
        """Stop this process by SIGTSTP's default action, and return once it goes on. From any thread.

        Several supervisors in one process stop it once, when all are ready or the first has waited long enough. In an
        orphaned process group, which no shell could continue, the kernel stops nothing (setpgid(2)).
        """
        with self._together:
            self._ready.add(self)
            pipes = {pipe for pipe in self.live if SUSPEND in pipe.previous_handlers}
            if not self._ready >= pipes and self._together.wait_for(lambda: self not in self._ready, TOGETHER_SECONDS):
                return
            _stop_by_default(SUSPEND)
            self._ready.clear()
            self._together.notify_all()

    def restore(self) -> None:
        """Give the handlers and the wake-up descriptor back, or leave them to pipes that were installed later."""
        if self not in self.live:
            return
        later = self.live[self.live.index(self) + 1 :]
        self.live.remove(self)
        if later:
            later[0].blocked |= self.blocked
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, self.blocked)
        for signum, handler in self.previous_handlers.items():
            if not later:
                signal.signal(signum, handler if handler is not None else signal.SIG_DFL)
            elif later[0].previous_handlers.get(signum) is _handler:
                later[0].previous_handlers[signum] = handler
        self.previous_handlers.clear()
        if self.has_wakeup:
            signal.set_wakeup_fd(-1)
            self.has_wakeup = False
            if self.live:
                self.live[-1].claim_wakeup_fd()

    def close(self) -> None:
        """Close the pipe, after `restore`."""
        with self._closing:
            os.close(self._read)
            os.close(self._write)


def _disown_in_fork() -> None:
    """Give a forked child the handlers that its parent had found, and detach it from the pipes."""
    pipes, SignalPipe.live[:] = tuple(SignalPipe.live), ()
    for pipe in pipes:
        for signum, handler in pipe.previous_handlers.items():
            if handler is not _handler and signal.getsignal(signum) is _handler:
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        if pipe.has_wakeup:
            signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_disown_in_fork)


def _unblock(signals: Iterable[int]) -> set[int]:
    """Unblock signals in this thread. Return what was blocked. Those that were pending arrive now."""
    return {int(signum) for signum in signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)}


def has_foreign_handler() -> bool:
    """Return whether the program has a handler of its own, which may raise anywhere in the main thread's code."""
    for signum in _SIGNALS:
        handler = getsignal(signum)
        if handler is not _handler and callable(handler):
            return True
    return False


def _handler(signum: int, _frame: FrameType | None) -> None:
    """Write the signal to every pipe."""
    for pipe in tuple(SignalPipe.live):
        pipe.write(signum | _FROM_HANDLER)


def _stop_by_default(signum: signal.Signals) -> None:
    """Take a stop signal's default action in this thread: the whole process stops until SIGCONT.

    Python changes a signal's action only in the main thread, which may be in a program's C code. So it is done by
    sigaction(2) itself, which does not look into what it keeps; a zeroed one is the default action. The signal is sent
    to this thread, so that it has been taken when pthread_kill returns.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    try:
        sigaction = ctypes.CDLL(None).sigaction
    except (OSError, AttributeError):  # no such C library: what cannot be caught does it too
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    default, ours = ctypes.create_string_buffer(_SIGACTION_SIZE), ctypes.create_string_buffer(_SIGACTION_SIZE)
    sigaction(int(signum), default, ours)
    try:
        signal.pthread_kill(threading.get_ident(), signum)
    finally:
        sigaction(int(signum), ours, None)


def exit_by_signal(signum: int) -> int:
    """End this process by a signal, as one that never handled it would, so that parents see the cause.

    As PID 1 the kernel ignores that: then, and only then, this returns, and 128 + n is the exit code to use.
    """
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    os.kill(os.getpid(), signum)
    return 128 + signum


def reraise(name: str) -> None:
    """Raise a signal again whose handler was given back: the program goes on as without a supervisor.

    Not while an outer supervisor has read it too, and would take it for a second one: that raises it at its own end.
    """
    signum = signal.Signals[name]
    if not SignalPipe.is_read_elsewhere(signum):
        os.kill(os.getpid(), signum)

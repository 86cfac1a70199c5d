"""Restore the process after a task, so that what one task changes does not affect the next.

A task may change its directory, its umask, timers, resource limits, and what is done with signals. After it, all of
that is as it was when the agents had been loaded: what they set up while they are imported is theirs to keep.

All of it is checked after every task, which takes about as long as a tiny task does. Rejected: checking what costs a
system call each (limits, user ids) at most once in a millisecond. The next tiny task was then affected.

What belongs to the interpreter (os.environ, sys.path, locale, modules and their globals) stays as the task left it, as
in every pool of processes.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal

# those of `signal` make enums of every answer, which is a sixth of a tiny task
from _signal import getitimer, getsignal, pthread_sigmask, setitimer  # type: ignore[import-not-found]
from collections.abc import Callable
from typing import Any

_SIGNALS = tuple(sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})))
_LIMITS = {value: name for name, value in sorted(vars(resource).items()) if name.startswith("RLIMIT_")}
_TIMERS = (int(signal.ITIMER_REAL), int(signal.ITIMER_VIRTUAL), int(signal.ITIMER_PROF))
_NO_TIMERS = [(0.0, 0.0)] * len(_TIMERS)


class CannotRestore(Exception):
    """The process cannot be restored. The text says what is different."""


class Surroundings:
    """The process as it is to be between tasks. Belongs to the main thread.

    `arm` sets faulthandler's signals and output again.
    """

    def __init__(self, arm: Callable[[], None]) -> None:
        self._arm = arm
        self.remember()

    def remember(self) -> None:
        """Remember the present state as the one to restore."""
        self._directory = os.getcwd()
        self._umask = os.umask(0o77)
        os.umask(self._umask)
        self._intervals = [getitimer(which)[1] for which in _TIMERS]
        self._readable = tuple(filter(_can_read_limit, _LIMITS))
        self._limits = list(map(resource.getrlimit, self._readable))
        self._handlers = list(map(getsignal, _SIGNALS))
        self._mask = pthread_sigmask(signal.SIG_BLOCK, ())
        self._fixed = _fixed()

    def restore(self) -> None:
        """Restore what a task has changed. Raises CannotRestore."""
        os.umask(self._umask)
        self._restore_directory()
        self._restore_timers()
        self._restore_signals()
        self._restore_limits()
        self._check_fixed()

    def _restore_directory(self) -> None:
        try:
            if os.getcwd() == self._directory:
                return
        except OSError:  # the working directory was removed
            pass
        try:
            os.chdir(self._directory)
        except OSError as error:
            self._check_fixed()  # its root directory may have changed
            raise CannotRestore(f"it cannot go back to {self._directory}: {error.strerror}") from None

    def _restore_timers(self) -> None:
        """Stop one-shot timers, which are the task's; a periodic one may belong to its module."""
        timers = list(map(getitimer, _TIMERS))
        if timers != _NO_TIMERS or any(self._intervals):
            for which, interval, (left, now) in zip(_TIMERS, self._intervals, timers, strict=True):
                if now != interval or (left and not interval):
                    setitimer(which, interval, interval)
        faulthandler.cancel_dump_traceback_later()

    def _restore_signals(self) -> None:
        if not faulthandler.is_enabled():
            self._arm()
        if list(map(getsignal, _SIGNALS)) != self._handlers:
            for signum, handler in zip(_SIGNALS, self._handlers, strict=True):
                if handler is not None and getsignal(signum) != handler:  # None: it is not Python's
                    signal.signal(signum, handler)
            self._arm()
        if pthread_sigmask(signal.SIG_BLOCK, ()) != self._mask:
            pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _restore_limits(self) -> None:
        try:
            current = list(map(resource.getrlimit, self._readable))
        except OSError:  # the task has put itself into a sandbox that refuses the answer
            return
        if current == self._limits:
            return
        for which, now, limits in zip(self._readable, current, self._limits, strict=True):
            if now == limits:
                continue
            try:
                resource.setrlimit(which, limits)
            except (ValueError, OSError):
                raise CannotRestore(f"the hard limit {_LIMITS[which]} is {now[1]}, and was {limits[1]}") from None

    def _check_fixed(self) -> None:
        current = _fixed()
        for what, before, now in zip(_FIXED, self._fixed, current, strict=True) if current != self._fixed else ():
            if now != before:
                raise CannotRestore(f"{what}: {now}, and was {before}")


def _can_read_limit(which: int) -> bool:
    """Return whether the limit can be read: a sandbox may refuse that (prlimit64)."""
    try:
        resource.getrlimit(which)
    except OSError:
        return False
    return True


def _niceness() -> int | None:
    """Return the niceness; None where a sandbox refuses it (getpriority)."""
    try:
        return os.getpriority(os.PRIO_PROCESS, 0)
    except OSError:
        return None


def _fixed() -> tuple[Any, ...]:
    root = os.stat("/")
    return _user_ids(), _group_ids(), _niceness(), (root.st_dev, root.st_ino)


_FIXED = ("user ids", "group ids", "niceness", "root directory")
"""What a process in general cannot restore."""

_user_ids: Callable[[], tuple[int, ...]] = getattr(os, "getresuid", lambda: (os.getuid(), os.geteuid()))
_group_ids: Callable[[], tuple[int, ...]] = getattr(os, "getresgid", lambda: (os.getgid(), os.getegid()))

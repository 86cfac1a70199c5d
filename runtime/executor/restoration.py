"""The process around a task: what one task changes of it, the next one does not meet.

A task may change its directory, its umask, timers, resource limits, and what is done with signals. After it, all of
that is as it was when the agents had been loaded: what they set up while they are imported is theirs to keep.

A tiny task takes a few microseconds, and a look at everything takes more than that. So what costs little to look at,
and would soon strike the next task (a timer that is about to ring), is looked at after every task, and the rest, each
of which is a system call, when a millisecond has passed since the last look, or there is nothing to do.

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
from time import monotonic
from typing import Any

_SIGNALS = tuple(sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})))
_LIMITS = {value: name for name, value in sorted(vars(resource).items()) if name.startswith("RLIMIT_")}
_TIMERS = (int(signal.ITIMER_REAL), int(signal.ITIMER_VIRTUAL), int(signal.ITIMER_PROF))
_NO_TIMERS = [(0.0, 0.0)] * len(_TIMERS)

LOOK_SECONDS = 0.001
"""Tasks that end within so many seconds of a look at everything are not followed by another one."""


class CannotRestore(Exception):
    """The process is not what it was and cannot be made so again. The text says what is different."""


class Surroundings:
    """The process as it is to be between tasks. Belongs to the main thread.

    `arm` makes faulthandler answer the signals that it is to answer, and write where it is to.
    """

    def __init__(self, arm: Callable[[], None]) -> None:
        self._arm = arm
        self.remember()

    def remember(self) -> None:
        """As it is now is right."""
        self._directory = os.getcwd()
        self._umask = os.umask(0o77)
        os.umask(self._umask)
        self._intervals = [getitimer(which)[1] for which in _TIMERS]
        self._limits = list(map(_limits_of, _LIMITS))
        self._handlers = list(map(getsignal, _SIGNALS))
        self._mask = pthread_sigmask(signal.SIG_BLOCK, ())
        self._fixed = _fixed()
        self._look_at = 0.0
        self._settled = True

    def settle(self) -> None:
        """Look at everything, unless that has been done since the last task. Raises CannotRestore."""
        if not self._settled:
            self._look_at = 0.0
            self.restore()

    def restore(self) -> None:
        """Put back what a task has changed. Raises CannotRestore."""
        self._settled = False
        os.umask(self._umask)
        self._restore_directory()
        self._restore_timers()
        self._restore_signals()
        now = monotonic()
        if now >= self._look_at:
            self._restore_limits()
            self._check_fixed()
            self._look_at = now + LOOK_SECONDS
            self._settled = True

    def _restore_directory(self) -> None:
        try:
            if os.getcwd() == self._directory:
                return
        except OSError:  # somebody has removed the one where we are
            pass
        try:
            os.chdir(self._directory)
        except OSError as error:
            self._check_fixed()  # it may have another root
            raise CannotRestore(f"it cannot go back to {self._directory}: {error.strerror}") from None

    def _restore_timers(self) -> None:
        """One that rings once was the task's; one that goes on ringing may have been started with its module."""
        found = list(map(getitimer, _TIMERS))
        if found != _NO_TIMERS or any(self._intervals):
            for which, interval, (left, now) in zip(_TIMERS, self._intervals, found, strict=True):
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
        for (which, name), limits in zip(_LIMITS.items(), self._limits, strict=True):
            now = _limits_of(which)
            if now == limits or now is None or limits is None:
                continue
            try:
                resource.setrlimit(which, limits)
            except (ValueError, OSError):
                raise CannotRestore(f"the hard limit {name} is {now[1]}, and was {limits[1]}") from None

    def _check_fixed(self) -> None:
        for (what, before), (_, now) in zip(self._fixed, _fixed(), strict=True):
            if now != before:
                raise CannotRestore(f"{what}: {now}, and was {before}")


def _limits_of(which: int) -> tuple[int, int] | None:
    """The soft and the hard limit; None where a sandbox refuses to say (prlimit64)."""
    try:
        return resource.getrlimit(which)
    except OSError:
        return None


def _niceness() -> int | None:
    """None where a sandbox refuses to say (getpriority)."""
    try:
        return os.getpriority(os.PRIO_PROCESS, 0)
    except OSError:
        return None


def _fixed() -> list[tuple[str, Any]]:
    """What a process in general cannot take back."""
    root = os.stat("/")
    return [
        ("user ids", os.getresuid() if hasattr(os, "getresuid") else (os.getuid(), os.geteuid())),
        ("group ids", os.getresgid() if hasattr(os, "getresgid") else (os.getgid(), os.getegid())),
        ("niceness", _niceness()),
        ("root directory", (root.st_dev, root.st_ino)),
    ]

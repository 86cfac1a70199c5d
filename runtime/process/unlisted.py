"""Handle processes that /proc does not show: a child by waitid(2), any other by its pidfd.

*Theory.* A child keeps its pid until its parent reaps it, so a pid that waitid(2) accepts as a child's cannot be stale,
and the kernel knows without /proc whether there is any child at all. A process that has lost its parent becomes a child
of the subreaper. So a subreaper that ends its children again and again, until it has none, has ended every
descendant. The kernel lists children only in /proc; but it can be asked of each pid whether it is one, and pids are
given out in ascending order (a new process gets the next free one): the descendants of a process have those between
its own and that of the process that was made last.
"""

from __future__ import annotations

import os
import signal
import time
from _thread import get_native_id
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain

from runtime.native import Thread, is_readable

_WINDOW = 1 << 16
"""Number of the newest pids that are asked first."""

_COMMON_MAX = 1 << 15
"""The largest pid of a host that was not configured for more (proc(5), pid_max)."""

_MAX = 1 << 22
"""PID_MAX_LIMIT of a 64-bit kernel."""


def _works() -> bool:
    """Return whether waitid(2) works: a sandbox may refuse it; macOS has it in Python from 3.13 on."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    except (AttributeError, OSError):
        return False
    return True


HAS_WAITID = _works()


class UnlistedProcess:
    """A process that /proc does not show. Two of the same pid are equal."""

    def __init__(self, pid: int) -> None:
        """Raise ProcessLookupError if there is no such process."""
        self.pid = pid
        self._is_child = is_child(pid)
        self._fd = -1 if self._is_child else _open(pid)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnlistedProcess) and other.pid == self.pid

    def __hash__(self) -> int:
        return hash(self.pid)

    def is_running(self) -> bool:
        """Return whether it has not ended; a zombie has."""
        if self._is_child:
            return _state(self.pid, os.WEXITED) is False
        if self._fd >= 0:
            return not is_readable(self._fd)
        return _exists(self.pid)

    def is_stopped(self) -> bool:
        """Return whether a signal has stopped it; known of a child only, otherwise False."""
        return self._is_child and _state(self.pid, os.WSTOPPED) is True

    def send_signal(self, signum: int) -> None:
        """Signal it. Raises OSError."""
        if self._fd >= 0:
            signal.pidfd_send_signal(self._fd, signum)
        elif self.is_running():
            os.kill(self.pid, signum)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)


def is_child(pid: int) -> bool:
    """Return whether it is a child of this process that was not reaped yet: until then its pid cannot be stale."""
    return HAS_WAITID and _state(pid, os.WEXITED) is not None


def child_pids() -> list[int]:
    """Find the children of this process, zombies included, by asking the kernel about each possible pid.

    The newest pids first; all others only if none of those is a child and there are some.
    """
    if not _has_children():
        return []
    newest = _newest_pid()
    found: list[int] = []
    for candidates in (_between(os.getpid(), newest), range(1, _COMMON_MAX), range(_COMMON_MAX, _MAX)):
        found = [pid for pid in candidates if is_child(pid)]
        if found or not _has_children():
            break
    return found


def zombie_pid() -> int | None:
    """Return the pid of a child that has ended and was not reaped yet, or None."""
    with suppress(AttributeError, OSError):
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if found is None else found.si_pid
    return None


def end_children(seconds: float) -> None:
    """Kill and reap the children of this process until there are none or so many seconds are over."""
    end = time.monotonic() + seconds
    while (pids := child_pids()) and time.monotonic() < end:
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)


def _between(own: int, newest: int) -> Iterable[int]:
    """Return the pids that were given out after this process's own, the last `_WINDOW` of them."""
    if newest >= own:
        return range(max(own, newest - _WINDOW) + 1, newest + 1)
    return chain(range(max(1, newest - _WINDOW), newest + 1), range(own + 1, min(_MAX, own + _WINDOW)))


def _newest_pid() -> int:
    """Return the id of a thread that was made just now: thread ids come from the same counter as pids.

    Not of a process: a fork runs the hooks that an agent's libraries have registered. Without a thread: this pid.
    """
    numbers = [os.getpid()]
    thread = Thread(lambda: numbers.append(get_native_id()))
    with suppress(RuntimeError):
        thread.start()
        thread.join()
    return numbers[-1]


def _has_children() -> bool:
    return HAS_WAITID and _answer(os.P_ALL, 0, os.WEXITED) is not None


def _state(pid: int, kind: int) -> bool | None:
    """Return whether a child is in a state of this kind; None if it is no child of this process."""
    return _answer(os.P_PID, pid, kind)


def _answer(which: int, pid: int, kind: int) -> bool | None:
    try:
        return os.waitid(which, pid, kind | os.WNOHANG | os.WNOWAIT) is not None
    except OSError:
        return None


def _open(pid: int) -> int:
    """Return a pidfd of a process; -1 where there are none."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):
        if not _exists(pid):
            raise ProcessLookupError(pid) from None
        return -1


def _exists(pid: int) -> bool:
    """Return whether a process with this pid exists, a zombie included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

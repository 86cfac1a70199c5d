"""The sentinel: a small fork of the guardian that ends every process when neither supervisor nor guardian can.

*Theory.* When the supervisor dies, the guardian shuts the run down. But a guardian can be held (a tracer, a frozen
cgroup) or killed at the same moment, and then only the kernel's parent-death signal ends the executors: a guardian that
is held never causes it, and an executor loses it when it changes its user (prctl(2)). Nothing inside an executor can
replace it, because C code may hold the GIL. So there is one more process, which runs no user code, holds no descriptor
whose end a reader waits for, is outside of the run's cgroup, and only waits for two deaths.

The guardian ends the sentinel at the beginning of the sweep: a sentinel that outlives the guardian knows that the
guardian was killed.

Rejected: a watchdog in each executor (a process or a timer each, and many of them); F_SETSIG with SIGKILL on the
control pipe (no grace); the supervisor as a second subreaper (it is the user's program, whose children are not ours).
"""

from __future__ import annotations

import os
import select
import signal
import struct
import time
from collections.abc import Iterable
from contextlib import suppress

from runtime.guardian.stdio import redirect_to_null
from runtime.native import is_readable
from runtime.process import marked_processes, psutil_later, tree
from runtime.process.cgroup import RunCgroup
from runtime.process.descendants import end_repeatedly
from runtime.stop_limits import CGROUP_TIMEOUT, SENTINEL_END_TIMEOUT, SENTINEL_MARGIN, SENTINEL_REAP_TIMEOUT

_LOOK = 0.25
WARM_UP_SECONDS = 1.0
"""Seconds after which psutil is loaded: not while executors start."""
_GRACE = struct.Struct("=d")


class Sentinel:
    """The guardian's handle of the sentinel: pass the grace on to it, and end it."""

    def __init__(self, pid: int, grace_fd: int) -> None:
        self.pid = pid
        self.fd = grace_fd
        self._is_watching = True

    def set_grace(self, seconds: float) -> None:
        """Tell the sentinel how many seconds the guardian has after the supervisor's death."""
        with suppress(OSError):  # it was killed; or it is held, and keeps the last value
            os.write(self.fd, _GRACE.pack(seconds))

    def end(self) -> None:
        """End the sentinel and reap it, waiting at most SENTINEL_REAP_TIMEOUT; the guardian ends what is left itself.

        A sentinel that a tracer or a frozen cgroup holds ends when it is released, and can do nothing until then.
        """
        if not self._is_watching:
            return
        self._is_watching = False
        until = time.monotonic() + SENTINEL_REAP_TIMEOUT
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            while os.waitpid(self.pid, os.WNOHANG)[0] == 0 and time.monotonic() < until:
                time.sleep(0.001)

    def reaped(self) -> None:
        """Note that the sentinel was killed from outside, and reaped."""
        self._is_watching = False


def start(
    supervisor_fd: int | None, grace: float, token: str | None, mark: int, leaf: RunCgroup | None, close: Iterable[int]
) -> Sentinel | None:
    """Fork the sentinel, which closes the descriptors `close`. Return None where that is impossible.

    `token` and `mark` (run_mark.py) are the supervisor's; token is None if strays are to be kept: only executors are
    ended then.
    """
    if supervisor_fd is None:
        return None
    guardian = os.getpid()
    try:
        guardian_fd = os.pidfd_open(guardian)
        read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            for fd in (write_fd, *close):
                os.close(fd)
            redirect_to_null(range(3))
            _SentinelProcess(supervisor_fd, guardian, guardian_fd, read_fd, grace, token, mark, leaf).run()
        finally:
            os._exit(0)
    os.close(guardian_fd)
    os.close(read_fd)
    if pid < 0:
        os.close(write_fd)
        return None
    return Sentinel(pid, write_fd)


class _SentinelProcess:
    """The code that runs in the sentinel's own process."""

    def __init__(
        self,
        supervisor_fd: int,
        guardian: int,
        guardian_fd: int,
        grace_fd: int,
        grace: float,
        token: str | None,
        mark: int,
        leaf: RunCgroup | None,
    ) -> None:
        self._supervisor_fd = supervisor_fd
        self._guardian = guardian
        self._guardian_fd = guardian_fd
        self._grace_fd = grace_fd
        self._grace = grace
        self._token = token
        self._mark = mark
        self._leaf = leaf
        self._since = tree.start_time(guardian)

    def run(self) -> None:
        """Wait for the supervisor's death, then for the guardian's end or the end of its time; then end everything."""
        self._wait_for_supervisor()
        psutil_later.load()  # where it died within WARM_UP_SECONDS
        end = time.monotonic() + self._grace + SENTINEL_MARGIN
        while (left := end - time.monotonic()) > 0 and not is_readable(self._guardian_fd, min(left, _LOOK)):
            self._signal_guardian(signal.SIGCONT)  # it may have been stopped
        self._end_everything()

    def _wait_for_supervisor(self) -> None:
        poll = select.poll()
        poll.register(self._supervisor_fd, select.POLLIN)
        poll.register(self._grace_fd, select.POLLIN)
        warm_at: float | None = time.monotonic() + WARM_UP_SECONDS
        while True:
            ready = [fd for fd, _ in poll.poll(None if warm_at is None else 1000 * WARM_UP_SECONDS)]
            if self._supervisor_fd in ready:
                return
            if warm_at is not None and time.monotonic() >= warm_at:  # a host in need may have no room for it later
                psutil_later.load()
                warm_at = None
            if self._grace_fd in ready:
                self._read_grace(poll)

    def _read_grace(self, poll: select.poll) -> None:
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self._grace_fd, 4096)
        if len(data) >= _GRACE.size:
            (self._grace,) = _GRACE.unpack(data[-_GRACE.size :])
        elif not data:  # the guardian is gone; the supervisor ends what it leaves, and the sentinel
            poll.unregister(self._grace_fd)

    def _signal_guardian(self, signum: int) -> None:
        """Signal the guardian by its pidfd; where a sandbox refuses that, by its pid, while it is the parent."""
        try:
            signal.pidfd_send_signal(self._guardian_fd, signum)
        except OSError:
            if os.getppid() == self._guardian:
                with suppress(OSError):
                    os.kill(self._guardian, signum)

    def _end_everything(self) -> None:
        """Kill the guardian, with which the kernel kills its executors; then every process that is left."""
        self._signal_guardian(signal.SIGKILL)
        end_repeatedly(self._find_processes, time.monotonic() + SENTINEL_END_TIMEOUT)
        if self._leaf is not None:
            self._leaf.remove(CGROUP_TIMEOUT)

    def _find_processes(self) -> list[tree.Process]:
        """Return the processes that are left. The kernel kills those in the cgroup."""
        if self._leaf is not None:
            self._leaf.kill()
            self._leaf.thaw()
        left = [] if self._token is None else marked_processes.of_supervisor(self._token, self._mark, since=self._since)
        known = {process.pid for process in left}
        return left + tree.processes(pid for pid in (self._leaf.pids() if self._leaf else ()) if pid not in known)

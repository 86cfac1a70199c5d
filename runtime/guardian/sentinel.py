"""The second line: a small fork of the guardian that ends everything when both the supervisor and the guardian cannot.

*Theory.* When the supervisor dies, the guardian is its heir. But a guardian can be held (a tracer, a frozen cgroup) or
killed in the same moment, and what then ends the executors is the kernel's parent-death signal alone: which a guardian
that is held never causes, and which an executor loses when it changes its user (prctl(2)). Nothing inside an executor
can stand in for it, because C code may hold the GIL. So there is one more process, which runs no user code, holds no
descriptor that anybody waits for the end of, is outside of the run's cgroup, and only waits for two deaths.

The guardian ends it when its own work comes to the last look: a sentinel that lives when the guardian is gone knows
that the guardian was killed.

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

from runtime.native import is_readable
from runtime.process import tree
from runtime.process.cgroup import RunCgroup
from runtime.process.descendants import end_repeatedly

MARGIN = 0.5
"""Seconds beyond the grace that the heir is given to begin with the last look."""

END_PATIENCE = 2.0
"""Seconds that the killing is repeated for."""

REAP_PATIENCE = 0.25
"""Seconds that the guardian waits for the end of a sentinel that it has killed."""

_LOOK = 0.25
_GRACE = struct.Struct("=d")


class Sentinel:
    """The guardian's end: start it, tell it how long the grace is, end it."""

    def __init__(self, pid: int, grace_fd: int) -> None:
        self.pid = pid
        self.fd = grace_fd
        self._is_watching = True

    def set_grace(self, seconds: float) -> None:
        """How long the heir has."""
        with suppress(OSError):  # it was killed; or it is held, and keeps what it knows
            os.write(self.fd, _GRACE.pack(seconds))

    def end(self) -> None:
        """End it, and wait for it, as long as that has sense: the guardian sees to the rest itself.

        One that a tracer or a frozen cgroup holds ends when it is let go, and can do nothing more until then.
        """
        if not self._is_watching:
            return
        self._is_watching = False
        until = time.monotonic() + REAP_PATIENCE
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            while os.waitpid(self.pid, os.WNOHANG)[0] == 0 and time.monotonic() < until:
                time.sleep(0.001)

    def reaped(self) -> None:
        """Somebody has killed it, and it was waited for."""
        self._is_watching = False


def start(
    supervisor_fd: int | None, grace: float, token: str | None, mark: int, leaf: RunCgroup | None, close: Iterable[int]
) -> Sentinel | None:
    """Fork a sentinel, which closes the descriptors `close`. None where there are no pidfds, or is no process for it.

    `token` and `mark` (run_mark.py): the supervisor's; no token if what executors leave behind is to be kept, so that
    only they are ended.
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
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            _Watch(supervisor_fd, guardian, guardian_fd, read_fd, grace, token, mark, leaf).run()
        finally:
            os._exit(0)
    os.close(guardian_fd)
    os.close(read_fd)
    if pid < 0:
        os.close(write_fd)
        return None
    return Sentinel(pid, write_fd)


class _Watch:
    """The sentinel's own process."""

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
        """Wait for the supervisor's death, then for the guardian's end, or for its time to be over."""
        self._wait_for_supervisor()
        end = time.monotonic() + self._grace + MARGIN
        while (left := end - time.monotonic()) > 0 and not is_readable(self._guardian_fd, min(left, _LOOK)):
            self._signal_guardian(signal.SIGCONT)  # whoever has stopped it
        self._end_everything()

    def _wait_for_supervisor(self) -> None:
        poll = select.poll()
        poll.register(self._supervisor_fd, select.POLLIN)
        poll.register(self._grace_fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self._supervisor_fd in ready:
                return
            self._read_grace(poll)

    def _read_grace(self, poll: select.poll) -> None:
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self._grace_fd, 4096)
        if len(data) >= _GRACE.size:
            (self._grace,) = _GRACE.unpack(data[-_GRACE.size :])
        elif not data:  # the guardian is gone; the supervisor looks after what it leaves, and after us
            poll.unregister(self._grace_fd)

    def _signal_guardian(self, signum: int) -> None:
        """By its pidfd; where a sandbox refuses that, by its pid, which is its own while it is our parent."""
        try:
            signal.pidfd_send_signal(self._guardian_fd, signum)
        except OSError:
            if os.getppid() == self._guardian:
                with suppress(OSError):
                    os.kill(self._guardian, signum)

    def _end_everything(self) -> None:
        """The guardian, with which the kernel kills its executors; then whoever has not died of that."""
        self._signal_guardian(signal.SIGKILL)
        end_repeatedly(self._look, time.monotonic() + END_PATIENCE)
        if self._leaf is not None:
            self._leaf.remove(MARGIN)

    def _look(self) -> list[tree.Process]:
        """Who is left. Those in the cgroup are killed by the kernel."""
        if self._leaf is not None:
            self._leaf.kill()
            self._leaf.thaw()
        left = [] if self._token is None else tree.processes_of_supervisor(self._token, self._mark, since=self._since)
        known = {process.pid for process in left}
        return left + tree.processes(pid for pid in (self._leaf.pids() if self._leaf else ()) if pid not in known)

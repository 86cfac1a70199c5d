"""The guardian: one small helper process that is three things and holds no user code.

- A fork server: executors start in milliseconds from its warm, single-threaded image.
- The child subreaper: whatever executors leave behind is re-parented to it, reaped, reported and ended.
  Being the parent it never signals a stale pid: a pid is free again only after its parent has waited.
- The successor: when the supervisor dies, it takes every process down the ladder, within the grace, and then ends.

The guardian is exec'd, in a session of its own, with SIGINT, SIGTERM and SIGHUP blocked for good: it ends only when
the supervisor orders it or is gone. Executors inherit the blocked mask, and unblock after they have installed their
handlers.

Rejected: executors as children of the supervisor (a killed supervisor leaves them to init, and a library that
waits for any child loses their exit codes); a thread in each executor (cannot run while C code holds the GIL).
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from runtime.capabilities import Missing
from runtime.executor.executor import ExecutorConfig
from runtime.executor.main import run_executor
from runtime.guardian.child_watch import ChildWatch, wait_for_any
from runtime.guardian.sentinel import Sentinel
from runtime.guardian.stdio import StdioKeeper, redirect_to_null
from runtime.guardian.strays import StrayReaper
from runtime.guardian.supervisor_socket import SupervisorSocket
from runtime.guardian.suspension import Suspension
from runtime.guardian.undo_runner import UndoRunner
from runtime.ipc.executor_protocol import BROKEN
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.guardian_protocol import (
    EXECUTOR_FDS,
    Continue,
    ExitedReport,
    Fork,
    ForkedReport,
    Graces,
    GuardianSettings,
    Halt,
    HaltedReport,
    KillTree,
    MemoryReport,
    Order,
    Ping,
    Pong,
    ReadyReport,
    Signal,
    StraysReport,
    Sweep,
    SweepReport,
    UndoOrder,
)
from runtime.ipc.signals import STACK_DUMP_SIGNAL, signals_of
from runtime.limits import clamp_wait
from runtime.native import is_readable
from runtime.plain_signal import PlainSignal
from runtime.process import libc, marks, parent_process, psutil_later, tree, usage
from runtime.process.cgroup import RunCgroup
from runtime.process.executor_process import ExecutorProcess
from runtime.reasons import InterruptReason
from runtime.stop_limits import STRAY_GRACE, SWEEP_END_TIMEOUT, UNDO_KILL_TIMEOUT

NO_PROCESS = 71
"""Exit code (EX_OSERR, sysexits.h) that is reported for an executor that the host had no process for."""

MEMORY_SECONDS = 0.25
"""Seconds between two measurements of memory, when there is a limit."""

WARM_UP_SECONDS = 1.0
"""Seconds from the first executor on after which psutil is loaded: not while executors start."""

REAP_BATCH = 1024
"""Upper bound of the children that are reaped in one pass of the loop."""

REAP_PAUSE, LONGEST_REAP_PAUSE = 4.0, 0.05
"""Pause after a search for strays, as a multiple of the search's own duration, and its upper bound in seconds. A search
costs time in proportion to the number of children; with the pause one search serves several executors that end one
after the other."""


class Guardian:
    """The guardian's event loop. `run` returns when no process is left below it."""

    def __init__(
        self,
        settings: GuardianSettings,
        containment: list[str],
        leaf: RunCgroup | None,
        parent: int | None,
        sentinel_handle: Sentinel | None,
        missing: list[Missing],
    ) -> None:
        self._settings = settings
        self._sentinel = sentinel_handle
        self._flag = InterruptFlag(settings.slots, settings.flag_fd)
        if not self._flag.seal():  # the supervisor has mapped it, and executors inherit what they may write
            missing.append(Missing.SEALS)
        self._executors: dict[int, ExecutorProcess] = {}
        self._by_slot: dict[tuple[int, int], ExecutorProcess] = {}
        self._reap_at = 0.0
        self._must_reap = False
        self._graces = Graces(settings.grace, settings.term_grace)
        self.is_supervised = True
        self.is_clean = True
        """Whether the sweep has left no process."""
        self._suspension = Suspension()
        self._warm_at: float | None = math.inf
        """When psutil is loaded: not yet known before the first executor, None once it is."""
        self._measure_at: float | None = None if settings.report_above is None else 0.0
        self._selector = selectors.DefaultSelector()
        self._output = StdioKeeper(self._selector)
        token = None if "subreaper" in containment else os.environ.get(marks.SUPERVISOR_VARIABLE)
        keep = settings.keep_children
        self._stray_reaper = StrayReaper(
            leaf, self._output, keep=keep, helper=self._sentinel_pid, token=token, mark=settings.mark
        )
        self._children = ChildWatch(self._selector)
        self._socket = SupervisorSocket(settings.socket_fd, self._selector)
        self._undo = UndoRunner(self._selector, self._socket.report)
        self._parent = parent
        if parent is not None:  # what the supervisor has forked keeps its socket open
            self._selector.register(parent, selectors.EVENT_READ)
        self._socket.report(ReadyReport(os.getpid(), containment, self._sentinel_pid, missing))

    @property
    def _sentinel_pid(self) -> int:
        """Return the pid of the sentinel; 0 if there is none."""
        return 0 if self._sentinel is None else self._sentinel.pid

    # -- the loop -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Execute orders until the supervisor orders the sweep, or is gone."""
        while self.is_supervised:
            for key, events in self._selector.select(clamp_wait(self._seconds_until_due())):
                if key.fd == self._children.fd:
                    self._children.drain()
                    self._must_reap = True
                elif key.fd == self._parent:
                    self.is_supervised = False
                elif events & selectors.EVENT_WRITE:
                    self._socket.flush()
                elif not self._undo.read(key.fd) and not self._serve():
                    return
            if time.monotonic() >= self._reap_at:
                self._reap()
            self._stray_reaper.kill_due()
            self._undo.act_on_time()
            self._measure()
            self._warm_up()
        self._shut_down_orphaned_run()

    def _serve(self) -> bool:
        """Read one frame and execute its orders. Return False after the sweep."""
        read = self._socket.read()
        if read is None:
            self.is_supervised = False
            return True
        orders, fds = read
        for order in orders:
            if isinstance(order, Sweep):
                self._finish(order)
                return False
            self._execute(order, fds)
        return True

    def _finish(self, order: Sweep) -> None:
        """Sweep, and report it. What multiplies on a host without processor time is ended after that report."""
        self._socket.stop_reading()
        swept = self._sweep(until=order.until)
        self.is_clean = not swept.remaining
        self._socket.report(swept)
        self._socket.flush_blocking(SWEEP_END_TIMEOUT)
        if not self.is_clean:
            self._leave_supervisor()
            redirect_to_null((1, 2))  # a reader of the supervisor's output waits for its last holder
            self.is_clean = not self._sweep(kill_by=time.monotonic()).remaining

    def _execute(self, order: Order, fds: list[int]) -> None:
        if isinstance(order, UndoOrder):
            self._undo.execute(order)
        elif isinstance(order, Halt | Continue):
            self._suspend_or_resume(order)
        elif isinstance(order, Fork):
            self._fork(order, fds)
        elif isinstance(order, Signal):
            self._signal(order)
        elif isinstance(order, KillTree):
            child = self._by_slot.get((order.slot, order.incarnation))
            if child is not None:
                child.kill(self._flag)
        elif isinstance(order, Graces):
            self._graces = order
            if self._sentinel is not None:
                self._sentinel.set_grace(order.grace)
        elif isinstance(order, Ping):
            self._socket.report(Pong(order.number))

    def _suspend_or_resume(self, order: Halt | Continue) -> None:
        if isinstance(order, Halt):
            self._socket.report(HaltedReport(self._suspension.suspend(self._sentinel_pid)))
        else:
            self._suspension.resume()

    def _seconds_until_due(self) -> float | None:
        """Return the seconds until something is due (a SIGKILL, a measurement, a reaping), or None."""
        reap_at = self._reap_at if self._must_reap else None
        due = (self._stray_reaper.due, self._measure_at, self._warm_at, reap_at, self._undo.due)
        times = [at for at in due if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _warm_up(self) -> None:
        """Load what the end of the run may need, while there are descriptors and time for it."""
        if self._warm_at is not None and time.monotonic() >= self._warm_at:
            psutil_later.load()
            self._warm_at = None

    # -- starting -----------------------------------------------------------------------------------

    def _fork(self, order: Fork, fds: list[int]) -> None:
        self._flag.reset_slot(order.slot)
        guardian = os.getpid()
        fds, output = fds[:EXECUTOR_FDS], fds[EXECUTOR_FDS:]
        self._output.keep(output)
        try:
            pid = os.fork()
        except OSError as error:  # no process or no memory is left; a later attempt may succeed
            sys.stderr.write(f"quiesce: an executor cannot be forked: {error.strerror}\n")
            pid = -1
        if pid == 0:
            self._become_executor(order, fds, guardian)
        for fd in fds:
            os.close(fd)
        if pid < 0:
            self._output.close(output)
            self._socket.report(ExitedReport(order.slot, order.incarnation, 0, NO_PROCESS, 0.0, 0))
            return
        if self._warm_at == math.inf:
            self._warm_at = time.monotonic() + WARM_UP_SECONDS
        self._executors[pid] = child = ExecutorProcess(order.slot, order.incarnation, pid, output)
        self._by_slot[order.slot, order.incarnation] = child
        self._socket.report(ForkedReport(order.slot, order.incarnation, pid))

    def _become_executor(self, order: Fork, fds: list[int], guardian: int) -> None:
        """Turn the forked child into an executor: close the guardian's descriptors, run, and exit. Never returns."""
        code = BROKEN
        try:
            parent_process.die_with_parent(guardian)
            self._children.close()
            self._selector.close()
            self._socket.close()
            others = [] if self._sentinel is None else [self._sentinel.fd]
            for fd in (*others, self._settings.wake_write_fd, *self._output, *self._undo.fds):
                os.close(fd)
            place = ExecutorConfig(
                slot=order.slot,
                incarnation=order.incarnation,
                run_id=self._settings.run_id,
                concurrency=self._settings.concurrency,
                inheritance=self._settings.inheritance,
                heartbeat=self._settings.heartbeat,
                wake_fd=self._settings.wake_read_fd,
                parent_fd=self._parent,
                pipe_key=order.pipe_key,
                ignored=tuple(signals_of(self._settings.warning_signals)),
                environment={name: values[order.slot] for name, values in self._settings.slot_env.items()},
            )
            code = run_executor(place, self._flag, *fds)
        except BaseException:  # noqa: BLE001 - no exception may return into the guardian's frames
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    # -- signalling ---------------------------------------------------------------------------------

    def _signal(self, order: Signal) -> None:
        child = self._by_slot.get((order.slot, order.incarnation))
        if child is None:
            return
        if order.signum == signal.SIGTERM:
            child.terminate(self._flag, with_stacks=self._graces.grace > 0)  # without a grace nothing could react
        elif order.signum == STACK_DUMP_SIGNAL:
            child.request_stacks(self._flag)
        else:
            child.signal(order.signum)

    # -- reaping ------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Reap the children that have ended. Nothing else in this process waits, so waiting for any child is safe."""
        dead: list[tuple[ExecutorProcess, int, Any]] = []
        self._must_reap = True
        for _ in range(REAP_BATCH):
            ended = wait_for_any()
            if ended is None:
                self._must_reap = False
                break
            pid, status, rusage = ended
            if os.WIFSTOPPED(status):  # an executor asked to be traced by its parent: detach, and it continues
                libc.stop_tracing(pid, os.WSTOPSIG(status))
                continue
            self._stray_reaper.reaped(pid)
            self._undo.reaped(pid, status)
            if pid == self._sentinel_pid and self._sentinel is not None:
                self._sentinel.reaped()
            child = self._executors.pop(pid, None)
            if child is not None:
                dead.append((child, os.waitstatus_to_exitcode(status), rusage))
        if dead:
            self._on_executors_reaped(dead)

    def _on_executors_reaped(self, dead: Sequence[tuple[ExecutorProcess, int, Any]]) -> None:
        """End the strays of these executors, and report their exits."""
        scale = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kibibytes on Linux
        began = time.monotonic()
        left = self._stray_reaper.find_strays([child for child, *_ in dead], {*self._executors, *self._undo.pids})
        now = time.monotonic()
        self._reap_at = now + min(LONGEST_REAP_PAUSE, REAP_PAUSE * (now - began))
        for child, code, rusage in dead:
            del self._by_slot[child.slot, child.incarnation]
            self._end_strays(child, left[child.pid])
            max_rss = rusage.ru_maxrss * scale
            self._socket.report(
                ExitedReport(child.slot, child.incarnation, child.pid, code, now - child.since, max_rss)
            )
            self._undo.on_executor_gone(child.slot, child.incarnation)

    def _end_strays(self, child: ExecutorProcess, left: list[tree.Process]) -> None:
        if left:
            if self._socket.is_connected:  # describing thousands takes time
                self._socket.report(
                    StraysReport(child.slot, child.incarnation, [tree.describe(process) for process in left])
                )
            self._stray_reaper.terminate(left, child.output, child.pid)
        else:
            self._output.close(child.output)

    # -- memory -------------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Report executors whose tree may hold more memory than the limit.

        RSS is an upper bound of what a tree holds, and reading it never blocks. Reading PSS can block: the supervisor
        measures that for the executors reported here.
        """
        now, limit = time.monotonic(), self._settings.report_above
        if self._measure_at is None or limit is None or now < self._measure_at:
            return
        self._measure_at = now + MEMORY_SECONDS
        for child in self._executors.values():
            rss = usage.tree_rss(child.pid)
            if rss > limit:
                self._socket.report(MemoryReport(child.slot, child.incarnation, child.pid, rss))

    # -- the end ------------------------------------------------------------------------------------

    def _sweep(self, kill_by: float = math.inf, until: float = math.inf) -> SweepReport:
        """End all descendants and return the report. Times are monotonic seconds (StrayReaper.sweep)."""
        self._suspension.resume()
        self._end_sentinel()
        self._reap()
        self._end_undo_commands()
        return self._stray_reaper.sweep(self._executors, self._wait, kill_by, until)

    def _end_undo_commands(self) -> None:
        """Kill the undo commands that still run, so that the sweep does not take them for something left behind."""
        self._undo.cut_off()
        until = time.monotonic() + UNDO_KILL_TIMEOUT
        while self._undo.pids and (left := until - time.monotonic()) > 0:
            self._wait(left)

    def _end_sentinel(self) -> None:
        """End the sentinel: from now on the guardian itself ends what is left."""
        if self._sentinel is not None:
            self._sentinel.end()

    def _shut_down_orphaned_run(self) -> None:
        """Take all executors down the ladder after the supervisor's death, within the grace.

        The flag rung has at least half of the grace; SIGTERM and SIGKILL follow.
        """
        self._take_last_undo_orders()
        self._leave_supervisor()
        self._undo.become_heir()
        self._suspension.resume()
        self._output.listen()
        self._measure_at = None
        began, grace = time.monotonic(), self._graces.grace
        term_at = began + grace - min(self._graces.term_grace, grace / 2)
        self._flag.set_next_rung(term_at)
        self._flag.raise_all(
            PlainSignal(
                reason=InterruptReason.SYSTEM_SHUTDOWN, message="the supervisor is gone", triggered_by="guardian"
            )
        )
        with suppress(OSError):
            os.write(self._settings.wake_write_fd, b"!")
        self._wait_for_executors(term_at)
        for child in list(self._executors.values()):
            child.terminate(self._flag, with_stacks=grace > 0)
        self._wait_for_executors(began + grace)
        self._end_sentinel()
        for child in list(self._executors.values()):
            child.kill(self._flag)
        if self._settings.keep_children:  # the sweep ends no process then
            self._wait_for_executors(time.monotonic() + SWEEP_END_TIMEOUT)
        self._undo_all(until=began + grace + STRAY_GRACE)
        self._sweep(kill_by=began + grace + STRAY_GRACE)

    def _take_last_undo_orders(self) -> None:
        """Read the undo records that the supervisor has sent before it died: their resources may exist."""
        while is_readable(self._socket.fileno()) and (read := self._socket.read()) is not None:
            orders, fds = read
            for order in orders:
                if isinstance(order, UndoOrder):
                    self._undo.execute(order)
            for fd in fds:
                os.close(fd)

    def _undo_all(self, until: float) -> None:
        """Run what is left to undo. It takes no longer than the end of the orphaned run may."""
        self._wait_for_executors(min(until, time.monotonic() + SWEEP_END_TIMEOUT))  # their SIGKILL is on its way
        self._undo.run_all()
        while self._undo.is_busy and (left := until - time.monotonic()) > 0:
            due = self._undo.due
            self._wait(left if due is None else max(0.0, min(left, due - time.monotonic())))
            self._undo.act_on_time()

    def record_undone(self) -> None:
        """Become the program that records what was undone after the supervisor's death. Return if there is none."""
        if not self.is_supervised:
            self._undo.record_and_exit()

    def _leave_supervisor(self) -> None:
        """Stop listening to the supervisor: to its socket, and to its end."""
        self._socket.disconnect()
        if self._parent is not None:
            self._selector.unregister(self._parent)

    def _wait_for_executors(self, until: float) -> None:
        while self._executors and (left := until - time.monotonic()) > 0:
            due_in = self._seconds_until_due()
            self._wait(left if due_in is None else min(left, due_in))
            self._undo.act_on_time()
            if self._executors:  # without executors the sweep does it, for all at once
                self._stray_reaper.kill_due()

    def _wait(self, seconds: float) -> None:
        """Wait for a child's end, at most so many seconds, and reap; orders are no longer read."""
        for key, events in self._selector.select(clamp_wait(seconds)):
            if events & selectors.EVENT_WRITE:
                self._socket.flush()
            elif not self._undo.read(key.fd):
                self._output.discard(key.fd)
        self._children.drain()
        self._reap()

"""The guardian: one small helper process that is three things and holds no user code.

- A fork server: executors start in milliseconds from its warm, single-threaded image.
- The child subreaper: whatever executors leave behind is re-parented to it, reaped, reported and ended.
  Being the parent it never signals a stale pid: a pid is free again only after its parent has waited.
- The heir: when the supervisor dies, it takes everything down the ladder, within the grace, and then ends.

It is exec'd, in its own session, with SIGINT, SIGTERM and SIGHUP blocked for
good: it ends when the supervisor says so or is gone, and for nobody else. Executors inherit the blocked mask
and unblock when their handlers stand.

Rejected: executors as children of the supervisor (a killed supervisor leaves them to init, and a library that
waits for any child loses their exit codes); a thread in each executor (cannot run while C code holds the GIL).
"""

from __future__ import annotations

import gc
import math
import os
import selectors
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from runtime.executor import executor
from runtime.executor.garbage import BROKEN
from runtime.guardian import sentinel
from runtime.guardian.sentinel import Sentinel
from runtime.guardian.stdio import StdioKeeper
from runtime.guardian.strays import KILL_PATIENCE, STRAY_GRACE, StrayReaper
from runtime.guardian.supervisor_socket import SupervisorSocket
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.guardian_protocol import (
    EXECUTOR_FDS,
    PLUGINS_VARIABLE,
    STACK_DUMP_SIGNALS,
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
)
from runtime.limits import clamp_wait
from runtime.model import InterruptReason, InterruptSignal
from runtime.process import tree
from runtime.process.capabilities import Missing
from runtime.process.cgroup import RunCgroup
from runtime.process.executor_process import ExecutorProcess
from runtime.process.procfs import Visibility
from runtime.process.run_mark import set_mark

NO_PROCESS = 71
"""Exit code (EX_OSERR, sysexits.h) that is reported for an executor that the host had no process for."""

HALT_ROUNDS = 20
"""How often descendants are looked for while they are stopped, at most."""

MEMORY_SECONDS = 0.25
"""How often memory is looked at, when there is a limit."""

REAP_BATCH = 1024
"""Ended children that are waited for before anything else has its turn."""

REAP_PAUSE, LONGEST_REAP_PAUSE = 4.0, 0.05
"""The look for what executors have left takes time in proportion to the number of our children. It is not due again
before so many times as long has passed, at most these seconds: of a thousand executors that end one by one, several are
dealt with by each look."""

LEAF_PATIENCE, HEIR_PATIENCE = 0.5, 5.0
"""Seconds that the end waits for the kernel to let go of the cgroup, whose last process was just killed: while the
supervisor waits for us, and when nobody does."""


class Guardian:
    """The event loop. `run` returns when everything below is gone."""

    def __init__(
        self,
        settings: GuardianSettings,
        containment: list[str],
        leaf: RunCgroup | None,
        parent: int | None,
        second_line: Sentinel | None,
        missing: list[str],
    ) -> None:
        self._settings = settings
        self._sentinel = second_line
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
        """Whether the last look has left no process."""
        self._halted: list[tree.Process] = []
        self._measure_at: float | None = None if settings.report_above is None else 0.0
        self._selector = selectors.DefaultSelector()
        self._output = StdioKeeper(self._selector)
        token = None if "subreaper" in containment else os.environ.get(tree.SUPERVISOR_VARIABLE)
        keep = settings.keep_children
        self._remains = StrayReaper(
            leaf, self._output, keep=keep, helper=self._sentinel_pid, token=token, mark=settings.mark
        )
        self._child_died = self._watch_children()
        self._uplink = SupervisorSocket(settings.socket_fd, self._selector)
        self._parent = parent
        if parent is not None:  # what the supervisor has forked keeps its socket open
            self._selector.register(parent, selectors.EVENT_READ)
        self._uplink.report(ReadyReport(os.getpid(), containment, self._sentinel_pid, missing))

    def _watch_children(self) -> int:
        """A descriptor that becomes readable on SIGCHLD."""
        read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        self._selector.register(read_fd, selectors.EVENT_READ)
        self._wakeup = (read_fd, write_fd)
        return read_fd

    @property
    def _sentinel_pid(self) -> int:
        """0 where there is none."""
        return 0 if self._sentinel is None else self._sentinel.pid

    # -- the loop -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the supervisor asks for the sweep, or is gone."""
        while self.is_supervised:
            for key, events in self._selector.select(clamp_wait(self._patience())):
                if key.fd == self._child_died:
                    self._drain_wakeups()
                    self._must_reap = True
                elif key.fd == self._parent:
                    self.is_supervised = False
                elif events & selectors.EVENT_WRITE:
                    self._uplink.flush()
                elif not self._serve():
                    return
            if time.monotonic() >= self._reap_at:
                self._reap()
            self._remains.kill_due()
            self._measure()
        self._shut_down_orphaned_run()

    def _serve(self) -> bool:
        """Read one frame and carry it out. False when the work is over."""
        read = self._uplink.read()
        if read is None:
            self.is_supervised = False
            return True
        orders, fds = read
        for order in orders:
            if isinstance(order, Sweep):
                self._uplink.stop_reading()
                swept = self._sweep(until=order.until)
                self.is_clean = not swept.remaining
                self._uplink.report(swept)
                self._uplink.flush_blocking(KILL_PATIENCE)
                return False
            self._execute(order, fds)
        return True

    def _execute(self, order: Order, fds: list[int]) -> None:
        if isinstance(order, Fork):
            self._fork(order, fds)
        elif isinstance(order, Signal):
            self._signal(order)
        elif isinstance(order, KillTree):
            one = self._by_slot.get((order.slot, order.incarnation))
            if one is not None:
                one.kill()
        elif isinstance(order, Graces):
            self._graces = order
            if self._sentinel is not None:
                self._sentinel.set_grace(order.grace)
        elif isinstance(order, Ping):
            self._uplink.report(Pong(order.number))
        elif isinstance(order, Halt):
            self._uplink.report(HaltedReport(self._suspend()))
        elif isinstance(order, Continue):
            self._resume()

    def _suspend(self) -> int:
        """Stop all descendants, parents first, until no new ones are found: a stopped process forks no more.

        Those that somebody else has stopped are not ours to continue.
        """
        known = {process.pid for process in self._halted} | {self._sentinel_pid}
        for _ in range(HALT_ROUNDS):
            found = [process for process in tree.children() if process.pid not in known]
            if not found:
                break
            known.update(process.pid for process in found)
            running = [process for process in found if not tree.is_stopped(process)]
            tree.send_signal(running[::-1], signal.SIGSTOP)
            self._halted += running
        return len(self._halted)

    def _resume(self) -> None:
        halted, self._halted = self._halted, []
        tree.send_signal(halted, signal.SIGCONT)

    def _patience(self) -> float | None:
        """Seconds until something is due: a SIGKILL, a look at the memory or at what has ended."""
        reap_at = self._reap_at if self._must_reap else None
        times = [at for at in (self._remains.due, self._measure_at, reap_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    # -- starting -----------------------------------------------------------------------------------

    def _fork(self, order: Fork, fds: list[int]) -> None:
        self._flag.reset_slot(order.slot)
        guardian = os.getpid()
        fds, output = fds[:EXECUTOR_FDS], fds[EXECUTOR_FDS:]
        self._output.keep(output)
        try:
            pid = os.fork()
        except OSError as error:  # no process or no memory left; the next attempt may find some
            sys.stderr.write(f"quiesce: an executor cannot be forked: {error.strerror}\n")
            pid = -1
        if pid == 0:
            self._become_executor(order, fds, guardian)
        for fd in fds:
            os.close(fd)
        if pid < 0:
            self._output.close(output)
            self._uplink.report(ExitedReport(order.slot, order.incarnation, 0, NO_PROCESS, 0.0, 0))
            return
        self._executors[pid] = family = ExecutorProcess(order.slot, order.incarnation, pid, output)
        self._by_slot[order.slot, order.incarnation] = family
        self._uplink.report(ForkedReport(order.slot, order.incarnation, pid))

    def _become_executor(self, order: Fork, fds: list[int], guardian: int) -> None:
        """In the child: drop what is the guardian's, then never return."""
        code = BROKEN
        try:
            tree.die_with_parent(guardian)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            self._uplink.close()
            others = [] if self._sentinel is None else [self._sentinel.fd]
            for fd in (*self._wakeup, *others, self._settings.wake_write_fd, *self._output):
                os.close(fd)
            place = executor.ExecutorConfig(
                slot=order.slot,
                incarnation=order.incarnation,
                run_id=self._settings.run_id,
                concurrency=self._settings.concurrency,
                inheritance=self._settings.inheritance,
                heartbeat=self._settings.heartbeat,
                wake_fd=self._settings.wake_read_fd,
                parent_fd=self._parent,
                pipe_key=order.pipe_key,
            )
            code = executor.main(place, self._flag, *fds)
        except BaseException:  # noqa: BLE001 - nothing may climb back into the guardian's frames
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    # -- signalling ---------------------------------------------------------------------------------

    def _signal(self, order: Signal) -> None:
        one = self._by_slot.get((order.slot, order.incarnation))
        if one is None:
            return
        if order.signum == signal.SIGTERM:
            one.terminate(self._flag)
        else:
            one.signal(order.signum)

    # -- reaping ------------------------------------------------------------------------------------

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._child_died, 4096):
                pass

    def _reap(self) -> None:
        """Wait for whoever has ended. Nothing else in this process waits, so -1 steals from nobody."""
        dead: list[tuple[ExecutorProcess, int, Any]] = []
        self._must_reap = True
        for _ in range(REAP_BATCH):
            ended = _wait_for_any()
            if ended is None:
                self._must_reap = False
                break
            pid, status, usage = ended
            if os.WIFSTOPPED(status):  # an executor asked to be traced by its parent: we let it go on
                tree.stop_tracing(pid, os.WSTOPSIG(status))
                continue
            self._remains.reaped(pid)
            if pid == self._sentinel_pid and self._sentinel is not None:
                self._sentinel.reaped()
            one = self._executors.pop(pid, None)
            if one is not None:
                dead.append((one, os.waitstatus_to_exitcode(status), usage))
        if dead:
            self._bury(dead)

    def _bury(self, dead: Sequence[tuple[ExecutorProcess, int, Any]]) -> None:
        """End what these executors have left, and report their ends."""
        scale = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kibibytes on Linux
        began = time.monotonic()
        left = self._remains.find_strays([one for one, *_ in dead], self._executors)
        now = time.monotonic()
        self._reap_at = now + min(LONGEST_REAP_PAUSE, REAP_PAUSE * (now - began))
        for one, code, usage in dead:
            del self._by_slot[one.slot, one.incarnation]
            self._end_strays(one, left[one.pid])
            max_rss = usage.ru_maxrss * scale
            self._uplink.report(ExitedReport(one.slot, one.incarnation, one.pid, code, now - one.since, max_rss))

    def _end_strays(self, one: ExecutorProcess, left: list[tree.Process]) -> None:
        if left:
            if self._uplink.is_connected:  # there may be thousands to describe
                self._uplink.report(
                    StraysReport(one.slot, one.incarnation, [tree.describe(process) for process in left])
                )
            self._remains.terminate(left, one.output, one.pid)
        else:
            self._output.close(one.output)

    # -- memory -------------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Report executors whose tree may hold more memory than it should.

        RSS is never less than what they hold, and to read it waits for nobody. PSS does: the supervisor looks at that.
        """
        now, limit = time.monotonic(), self._settings.report_above
        if self._measure_at is None or limit is None or now < self._measure_at:
            return
        self._measure_at = now + MEMORY_SECONDS
        for one in self._executors.values():
            rss = tree.tree_rss(one.pid)
            if rss > limit:
                self._uplink.report(MemoryReport(one.slot, one.incarnation, one.pid, rss))

    # -- the end ------------------------------------------------------------------------------------

    def _sweep(self, kill_by: float = math.inf, until: float = math.inf) -> SweepReport:
        """End all descendants."""
        self._resume()
        self._end_sentinel()
        self._reap()
        return self._remains.sweep(self._executors, self._wait, kill_by, until)

    def _end_sentinel(self) -> None:
        """From here on it is this process that sees to the end."""
        if self._sentinel is not None:
            self._sentinel.end()

    def _shut_down_orphaned_run(self) -> None:
        """The supervisor is gone: flag, then SIGTERM, then SIGKILL, all within the grace; half of it is the flag's."""
        self._uplink.disconnect()
        self._resume()
        if self._parent is not None:
            self._selector.unregister(self._parent)
        self._output.listen()
        self._measure_at = None
        began, grace = time.monotonic(), self._graces.grace
        term_at = began + grace - min(self._graces.term_grace, grace / 2)
        self._flag.set_next_rung(term_at)
        self._flag.raise_all(
            InterruptSignal(
                reason=InterruptReason.SYSTEM_SHUTDOWN, message="the supervisor is gone", triggered_by="guardian"
            )
        )
        with suppress(OSError):
            os.write(self._settings.wake_write_fd, b"!")
        self._wait_for_executors(term_at)
        for one in list(self._executors.values()):
            one.terminate(self._flag)
        self._wait_for_executors(began + grace)
        self._end_sentinel()
        for one in list(self._executors.values()):
            one.kill()
        if self._settings.keep_children:  # the sweep ends nobody then
            self._wait_for_executors(time.monotonic() + KILL_PATIENCE)
        self._sweep(kill_by=began + grace + STRAY_GRACE)

    def _wait_for_executors(self, until: float) -> None:
        while self._executors and (left := until - time.monotonic()) > 0:
            patience = self._patience()
            self._wait(left if patience is None else min(left, patience))
            if self._executors:  # else the sweep does it, for all at once
                self._remains.kill_due()

    def _wait(self, seconds: float) -> None:
        """For a child's end, while nothing but that matters any more."""
        for key, events in self._selector.select(clamp_wait(seconds)):
            if events & selectors.EVENT_WRITE:
                self._uplink.flush()
            else:
                self._output.discard(key.fd)
        self._drain_wakeups()
        self._reap()


def _wait_for_any() -> tuple[int, int, Any] | None:
    """Return pid, status and resource usage of a child that has ended or was stopped by a tracer's signal."""
    try:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status, usage) if pid else None


def _read_settings() -> GuardianSettings:
    """Executors must not find there what is not for them."""
    with open(0, "rb", closefd=False) as file:
        settings = msgspec.msgpack.decode(file.read(), type=GuardianSettings)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return settings


def main() -> None:
    """Entry point of the helper process: standard input is Settings as msgpack."""
    settings = _read_settings()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    if settings.pydantic_plugins is None:  # agents' own models have theirs
        os.environ.pop(PLUGINS_VARIABLE, None)
    else:
        os.environ[PLUGINS_VARIABLE] = settings.pydantic_plugins
    signal.pthread_sigmask(signal.SIG_BLOCK, STACK_DUMP_SIGNALS)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))  # inherited from the program: no death would be seen
    has_death_signal = tree.sigcont_on_parent_death()
    parent = tree.open_parent_pidfd()
    leaf = RunCgroup(settings.leaf) if settings.leaf is not None else None
    leaf = leaf if leaf is not None and leaf.create() else None
    gc.collect()
    gc.freeze()  # what is warm stays shared with every executor
    is_marked = set_mark(settings.mark)
    second_line = _start_sentinel(settings, parent, leaf)
    containment = ["cgroup"] if leaf is not None and leaf.join() else []
    is_subreaper = tree.become_subreaper()
    containment += ["subreaper"] if is_subreaper else []
    containment += ["limits"] if is_marked else []
    containment += ["sessions"] if not tree.VISIBILITY.is_usable else ["sessions", "environment"]
    missing = _find_missing(has_prctl=has_death_signal and is_subreaper, has_pidfds=second_line is not None)
    entered = leaf if "cgroup" in containment else None
    guardian = Guardian(settings, containment, entered, parent, second_line, missing)
    guardian.run()
    if leaf is not None:
        leaf.leave()
        patience = LEAF_PATIENCE if guardian.is_supervised else HEIR_PATIENCE
        leaf.remove(patience if guardian.is_clean else 0.0)
    os._exit(0)


def _find_missing(*, has_prctl: bool, has_pidfds: bool) -> list[str]:
    """Return what this host does not give (capabilities.py)."""
    missing = []
    if not tree.VISIBILITY.is_usable:
        missing.append(Missing.PROC)
    elif tree.VISIBILITY is Visibility.RESTRICTED:
        missing.append(Missing.PROC_OF_OTHERS)
    missing += [] if has_prctl else [Missing.PRCTL]
    missing += [] if has_pidfds else [Missing.PIDFD]
    return [str(each) for each in missing]


def _start_sentinel(settings: GuardianSettings, parent: int | None, leaf: RunCgroup | None) -> Sentinel | None:
    """Before the cgroup is entered: it must not be frozen with it."""
    token = None if settings.keep_children else os.environ.get(tree.SUPERVISOR_VARIABLE)
    ours = (settings.socket_fd, settings.flag_fd, settings.wake_read_fd, settings.wake_write_fd)
    return sentinel.start(parent, settings.grace, token, settings.mark, leaf, ours)

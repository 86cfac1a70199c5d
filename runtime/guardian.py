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
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from runtime import executor, tree
from runtime.cgroup import Leaf
from runtime.flag import InterruptFlag
from runtime.model import InterruptReason, InterruptSignal
from runtime.output import OutputEnds
from runtime.protocol import (
    EXECUTOR_FDS,
    FDS_PER_EXECUTOR,
    PLUGINS_VARIABLE,
    Exited,
    Fork,
    Forked,
    Graces,
    Grown,
    KillTree,
    Order,
    Report,
    Settings,
    Signal,
    Standing,
    Strays,
    Sweep,
    Swept,
)
from runtime.wire import FrameReader, pack

NO_PROCESS = 71
"""Exit code (EX_OSERR, sysexits.h) that is reported for an executor that the host had no process for."""

STRAY_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL for what an executor left behind."""

MEMORY_SECONDS = 0.25
"""How often memory is looked at, when there is a limit."""

KILL_PATIENCE = 2.0
"""Seconds that the end waits for SIGKILLed processes before it reports them as unkillable (D state)."""

LEAF_PATIENCE = 0.5
"""Seconds that the end waits for the kernel to let go of the cgroup, whose last process was just killed."""


@dataclass
class _Executor:
    slot: int
    incarnation: int
    pid: int
    output: list[int]
    since: float = field(default_factory=time.monotonic)


@dataclass
class _Doomed:
    """Processes that were told to end, and when they are made to. `output`: what they may still write to."""

    processes: list[tree.Process]
    kill_at: float
    output: list[int]


class Guardian:
    """The event loop. `run` returns when everything below is gone."""

    def __init__(self, settings: Settings, containment: list[str], leaf: Leaf | None) -> None:
        self._settings = settings
        self._leaf = leaf
        self._socket = socket.socket(fileno=settings.socket_fd)
        self._reader: FrameReader[Order] = FrameReader(Order)
        self._flag = InterruptFlag(settings.slots, settings.flag_fd)
        self._executors: dict[int, _Executor] = {}
        self._doomed: list[_Doomed] = []
        self._owners: dict[int, str] = {}
        self._known: dict[tuple[int, int], list[tree.Process]] = {}
        self._graces = Graces(settings.grace, settings.term_grace)
        self._supervised = True
        self._measure_at: float | None = None if settings.report_above is None else 0.0
        self._selector = selectors.DefaultSelector()
        self._output = OutputEnds(self._selector)
        self._child_died = self._watch_children()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._report(Standing(os.getpid(), containment))

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

    # -- the loop -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the supervisor asks for the sweep, or is gone."""
        while self._supervised:
            for key, _ in self._selector.select(self._patience()):
                if key.fd == self._child_died:
                    self._drain_wakeups()
                elif not self._serve():
                    return
            self._reap()
            self._kill_due()
            self._measure()
        self._inherit()

    def _serve(self) -> bool:
        """Read one frame and carry it out. False when the work is over."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 4, FDS_PER_EXECUTOR)
            for part in self._rest_of_frame(data):
                data += part
        except OSError:
            data, fds = b"", []
        if len(data) < 4:
            self._supervised = False
            return True
        for order in self._reader.feed(data):
            if isinstance(order, Sweep):
                self._report(self._sweep())
                return False
            self._obey(order, fds)
        return True

    def _rest_of_frame(self, header: bytes) -> list[bytes]:
        """Exactly the frame's remaining bytes, so that descriptors never belong to a later frame."""
        parts: list[bytes] = []
        want = int.from_bytes(header, "little") if len(header) == 4 else 0
        while want > 0:
            part = self._socket.recv(want)
            if not part:
                raise OSError("the supervisor's socket ended inside a frame")
            parts.append(part)
            want -= len(part)
        return parts

    def _obey(self, order: Order, fds: list[int]) -> None:
        if isinstance(order, Fork):
            self._fork(order, fds)
        elif isinstance(order, Signal):
            self._signal(order.slot, order.incarnation, order.signum)
        elif isinstance(order, KillTree):
            self._kill_tree(order.slot, order.incarnation)
        elif isinstance(order, Graces):
            self._graces = order

    def _report(self, report: Report) -> None:
        with suppress(OSError):  # a dead supervisor is noticed where its socket is read
            self._socket.sendall(pack(report))

    # -- starting -----------------------------------------------------------------------------------

    def _fork(self, order: Fork, fds: list[int]) -> None:
        self._flag.forget(order.slot)
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
            self._report(Exited(order.slot, order.incarnation, 0, NO_PROCESS, 0.0, 0))
            return
        self._executors[pid] = _Executor(order.slot, order.incarnation, pid, output)
        self._report(Forked(order.slot, order.incarnation, pid))

    def _become_executor(self, order: Fork, fds: list[int], guardian: int) -> None:
        """In the child: drop what is the guardian's, then never return."""
        code = executor.BROKEN
        try:
            tree.die_with_parent(guardian)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            self._socket.close()
            for fd in (*self._wakeup, self._settings.wake_write_fd, *self._output):
                os.close(fd)
            place = executor.Place(
                slot=order.slot,
                incarnation=order.incarnation,
                run_id=self._settings.run_id,
                concurrency=self._settings.concurrency,
                sys_path=self._settings.sys_path,
                cwd=self._settings.cwd,
                wake_fd=self._settings.wake_read_fd,
            )
            code = executor.main(place, self._flag, *fds)
        except BaseException:  # noqa: BLE001 - nothing may climb back into the guardian's frames
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    # -- signalling ---------------------------------------------------------------------------------

    def _find(self, slot: int, incarnation: int) -> _Executor | None:
        for one in self._executors.values():
            if (one.slot, one.incarnation) == (slot, incarnation):
                return one
        return None

    def _signal(self, slot: int, incarnation: int, signum: int) -> None:
        """To the executor only; its descendants come when it has ended, or with KillTree.

        Before SIGTERM it is asked where it is: faulthandler answers SIGUSR1 while C code holds the GIL, too. The mark
        comes first of all: either signal can end a system call of the agent's C code, and what that then
        returns must not pass for a result (TaskRunner).
        """
        one = self._find(slot, incarnation)
        if one is None:
            return
        if signum == signal.SIGTERM:
            self._flag.mark_term(slot)
            self._remember(one)
        with suppress(ProcessLookupError):
            if signum == signal.SIGTERM:
                os.kill(one.pid, signal.SIGUSR1)
            os.kill(one.pid, signum)
            if signum == signal.SIGTERM:
                os.kill(one.pid, signal.SIGCONT)

    def _kill_tree(self, slot: int, incarnation: int) -> None:
        one = self._find(slot, incarnation)
        if one is None:
            return
        self._remember(one)
        tree.send(self._known[slot, incarnation], signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)

    def _remember(self, one: _Executor) -> None:
        """Snapshot the tree before a signal: once the parent is dead its children are nobody's (circus#1044)."""
        known = self._known.setdefault((one.slot, one.incarnation), [])
        known.extend(process for process in tree.children(one.pid) if process not in known)

    # -- reaping ------------------------------------------------------------------------------------

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._child_died, 4096):
                pass

    def _reap(self) -> None:
        """Wait for whoever has ended. Nothing else in this process waits, so -1 steals from nobody."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._owners.pop(pid, None)
            one = self._executors.pop(pid, None)
            if one is not None:
                self._buried(one, os.waitstatus_to_exitcode(status), usage)

    def _buried(self, one: _Executor, code: int, usage: Any) -> None:
        scale = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kibibytes on Linux
        self._end_strays(one)
        seconds = time.monotonic() - one.since
        self._report(Exited(one.slot, one.incarnation, one.pid, code, seconds, usage.ru_maxrss * scale))

    def _end_strays(self, one: _Executor) -> None:
        """What the dead executor left: remembered, in its session, or carrying its mark."""
        known = self._known.pop((one.slot, one.incarnation), [])
        left = {process: None for process in known if tree.is_running(process)}
        if tree.has_children() and not self._settings.keep_children:
            left |= dict.fromkeys(self._orphans_of(one))
        if left:
            self._report(Strays(one.slot, one.incarnation, [tree.describe(process) for process in left]))
            tree.send(left, signal.SIGTERM)
            self._doomed.append(_Doomed(list(left), time.monotonic() + STRAY_GRACE, one.output))
        else:
            self._output.close(one.output)

    def _orphans_of(self, one: _Executor) -> list[tree.Process]:
        """Our children that descend from an executor, by its session or its mark, and all below them.

        There may be thousands, of many executors. Each is looked at once: while we have not waited for it, its pid is
        its own.
        """
        mark = tree.slot_mark(one.slot, one.incarnation)
        roots = []
        for pid in tree.child_pids(os.getpid()):
            if pid in self._executors:
                continue
            if pid not in self._owners:
                self._owners[pid] = tree.slot_of(pid)
            if self._owners[pid] == mark or tree.session_of(pid) == one.pid:
                roots.append(pid)
        return [found for pid in roots for found in (*tree.processes([pid]), *tree.children(pid))]

    def _patience(self) -> float | None:
        """Seconds until something is due: a SIGKILL, a look at the memory."""
        times = [doomed.kill_at for doomed in self._doomed]
        if self._measure_at is not None:
            times.append(self._measure_at)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _measure(self) -> None:
        """Report executors whose tree holds more memory than it may."""
        now, limit = time.monotonic(), self._settings.report_above
        if self._measure_at is None or limit is None or now < self._measure_at:
            return
        self._measure_at = now + MEMORY_SECONDS
        for one in self._executors.values():
            rss = tree.resident(one.pid)
            if rss > limit:
                self._report(Grown(one.slot, one.incarnation, rss))

    def _kill_due(self) -> None:
        now = time.monotonic()
        for doomed in tuple(self._doomed):
            if doomed.kill_at <= now:
                family = [found for process in doomed.processes for found in (process, *tree.children(process.pid))]
                tree.send(family, signal.SIGKILL)
            elif any(map(tree.is_running, doomed.processes)):
                continue
            self._doomed.remove(doomed)
            self._output.close(doomed.output)

    # -- the end ------------------------------------------------------------------------------------

    def _sweep(self) -> Swept:
        """End all descendants, TERM first, and look again until there are none or patience is over."""
        found: dict[int, tree.Process] = {}
        self._reap()
        if self._settings.keep_children and not self._executors:
            return Swept(0, 0, [])
        if not tree.has_children() and (self._leaf is None or self._leaf.pids() == [os.getpid()]):
            return Swept(0, 0, [])
        kill_at = time.monotonic() + STRAY_GRACE
        give_up_at = kill_at + KILL_PATIENCE
        told = self._told()  # once is enough: a second SIGTERM would come into the middle of the first one's handler
        tree.send([process for process in self._notice(found) if process not in told], signal.SIGTERM)
        while (left := self._notice(found)) and time.monotonic() < give_up_at:
            if time.monotonic() >= kill_at:
                self._kill_all(left)
            self._wait(0.02)
        return Swept(len(found), len(found) - len(left), [tree.describe(process) for process in left])

    def _kill_all(self, left: list[tree.Process]) -> None:
        """The kernel does it at once where it can, also to those that are being forked."""
        if self._leaf is not None:
            self._leaf.leave()  # it would end us too
            self._leaf.kill()
        tree.send(left, signal.SIGKILL)

    def _notice(self, found: dict[int, tree.Process]) -> list[tree.Process]:
        left = tree.children()
        known = {process.pid for process in left} | {os.getpid()}
        if self._leaf is not None:
            left += tree.processes(pid for pid in self._leaf.pids() if pid not in known)
        reported = self._told()
        found.update((process.pid, process) for process in left if process not in reported)
        return left

    def _told(self) -> set[tree.Process]:
        """Strays that were told to end, and reported, when their executor ended."""
        return {process for doomed in self._doomed for process in doomed.processes}

    def _inherit(self) -> None:
        """The supervisor is gone: flag, then SIGTERM, then SIGKILL, all within the grace; half of it is the flag's."""
        self._selector.unregister(self._socket)
        self._output.listen()
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
            self._signal(one.slot, one.incarnation, signal.SIGTERM)
        self._wait_for_executors(began + grace)
        for one in list(self._executors.values()):
            self._kill_tree(one.slot, one.incarnation)
        self._sweep()

    def _wait_for_executors(self, until: float) -> None:
        while self._executors and (left := until - time.monotonic()) > 0:
            patience = self._patience()
            self._wait(left if patience is None else min(left, patience))
            self._kill_due()

    def _wait(self, seconds: float) -> None:
        """For a child's end, while nothing but that matters any more."""
        for key, _ in self._selector.select(seconds):
            self._output.discard(key.fd)
        self._drain_wakeups()
        self._reap()


def main() -> None:
    """Entry point of the helper process: argv[1] is Settings as JSON."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    leaf = Leaf(settings.leaf) if settings.leaf is not None else None
    containment = ["cgroup"] if leaf is not None and leaf.make() and leaf.enter() else []
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    if settings.pydantic_plugins is None:  # agents' own models have theirs
        os.environ.pop(PLUGINS_VARIABLE, None)
    else:
        os.environ[PLUGINS_VARIABLE] = settings.pydantic_plugins
    tree.continue_with_orphanhood()
    containment += ["subreaper"] if tree.become_subreaper() else []
    containment += ["sessions", "environment"]
    gc.collect()
    gc.freeze()  # what is warm stays shared with every executor
    Guardian(settings, containment, leaf if "cgroup" in containment else None).run()
    if leaf is not None:
        leaf.leave()
        leaf.remove(LEAF_PATIENCE)
    os._exit(0)

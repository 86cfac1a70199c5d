"""Run executors on this machine, below one guardian process."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from orchestrator.backends import Channels, Cleanup, SlotProgress, interpreter
from orchestrator.backends.executor_signals import ExecutorSignals
from orchestrator.backends.order_queue import OrderQueue
from orchestrator.backends.previous_supervisor import PreviousSupervisor
from orchestrator.backends.pulse import Pulse
from orchestrator.backends.run_token import RunToken
from orchestrator.core.settings import RunSettings
from orchestrator.journal import SupervisorRecord
from orchestrator.logging.sinks import LogCallback
from runtime.ipc.flag import InterruptFlag, anonymous_file
from runtime.ipc.frames import FrameReader
from runtime.ipc.guardian_protocol import (
    PLUGINS_VARIABLE,
    Continue,
    ExitedReport,
    Fork,
    ForkedReport,
    Graces,
    GuardianSettings,
    Halt,
    KillTree,
    Order,
    Ping,
    Pong,
    ReadyReport,
    Report,
    Signal,
    Sweep,
)
from runtime.ipc.signals import STACK_DUMP_SIGNAL
from runtime.model import InterruptSignal
from runtime.process import marked_processes, marks, tree, usage
from runtime.process.cgroup import RunCgroup
from runtime.process.descendants import end_repeatedly
from runtime.stop_limits import (
    CGROUP_TIMEOUT,
    GUARDIAN_EXIT_TIMEOUT,
    GUARDIAN_TIMEOUT_IN_STOP,
    LEAST_ENVIRONMENTS_TIMEOUT,
    TAKEOVER_SLACK,
)

_BLOCKED_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID")

_PACKAGE_ROOT = str(Path(tree.__file__).parents[2])
_GUARDIAN = """\
import sys
home, *more = sys.argv[1:]
own = sys.path[not sys.flags.safe_path:]
sys.path[:] = [home, *own, *(path for path in more if path not in own)]
from runtime.guardian.main import main
main()
"""
"""Not `-m`: that would look into the working directory first, where a user may have a `runtime` of their own.

What this interpreter has found only by a longer `sys.path` is found there, too, but after everything else.
"""

LOOK_SECONDS = 0.01
"""Seconds between two looks at whether the guardian has ended."""


class LocalBackend:
    """Run executors on this machine. See Backend."""

    def __init__(self, run_id: str, settings: RunSettings) -> None:
        self._run_id = run_id
        self._token = RunToken.make()
        self._settings = settings
        self._flag = InterruptFlag(settings.workers)
        self._wake_read, self._wake_write = _wake_up_ends()
        self._socket: socket.socket | None = None
        self._orders: OrderQueue | None = None
        self._pulse: Pulse | None = None
        self._sentinel: list[tree.Process] = []
        self._executors = ExecutorSignals(self._flag)
        self._guardian: subprocess.Popen[bytes] | None = None
        self._reader: FrameReader[Report] = FrameReader(Report)
        self._leaf = None if settings.keep_children else RunCgroup.at_own_cgroup(self._token.leaf_name(run_id))
        self._incarnations: dict[int, int] = {}
        self._graces = Graces(settings.ladder.grace, settings.ladder.term_grace)
        self._closed = False
        self._since = 0
        """The start time of the first guardian."""
        self._look_until = 0.0
        self._is_clean = True
        """Whether the last search has left no process."""

    # -- the guardian -------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the guardian, with the stop signals blocked from its first instruction on."""
        if self._guardian is not None:  # an earlier guardian has sealed it
            self._flag.renew()
        ours, theirs = socket.socketpair()
        _check_descriptor_passing(ours, theirs)
        settings = GuardianSettings(
            run_id=self._run_id,
            slots=self._settings.workers,
            flag_fd=self._flag.fd,
            socket_fd=theirs.fileno(),
            wake_read_fd=self._wake_read,
            wake_write_fd=self._wake_write,
            concurrency=self._settings.concurrency,
            grace=self._graces.grace,
            term_grace=self._graces.term_grace,
            heartbeat=self._settings.heartbeat,
            inheritance=interpreter.inheritance(),
            keep_children=self._settings.keep_children,
            report_above=self._settings.report_above,
            leaf=None if self._leaf is None else str(self._leaf.path),
            mark=self._token.mark,
            pydantic_plugins=os.environ.get(PLUGINS_VARIABLE),
        )
        inherited = (theirs.fileno(), self._flag.fd, self._wake_read, self._wake_write)
        try:
            with theirs, _anonymous_file(msgspec.msgpack.encode(settings)) as file, _signals_blocked():
                self._guardian = subprocess.Popen(
                    [*interpreter.command(), "-c", _GUARDIAN, _PACKAGE_ROOT, *interpreter.search_path()],
                    stdin=file,
                    stdout=subprocess.DEVNULL,
                    pass_fds=inherited,
                    start_new_session=True,
                    env=_environment(self._run_id, self._token.value),
                )
        except OSError:
            ours.close()
            raise
        if not self._since:
            self._since = tree.start_time(self._guardian.pid)
        ours.setblocking(False)
        self._socket = ours
        self._orders = OrderQueue(ours)
        self._pulse = None
        self._executors.clear()
        self._reader = FrameReader(Report)

    def wait_for_previous(self, previous: SupervisorRecord, log: LogCallback, check: Callable[[], None]) -> bool:
        """Wait for a dead supervisor's guardian, as PreviousSupervisor does it."""
        supervisor = PreviousSupervisor(self._run_id, previous)
        timeout = self._settings.ladder.total + TAKEOVER_SLACK
        return supervisor.wait_and_clean_up(log, check, timeout, keep_children=self._settings.keep_children)

    @property
    def token(self) -> str:
        """The random text that the environment of the run's processes has."""
        return self._token.value

    @property
    def guardian_pid(self) -> int | None:
        """The guardian's process id; None before the first `open`."""
        return self._guardian.pid if self._guardian is not None else None

    def fileno(self) -> int:
        """Return the guardian's socket."""
        assert self._socket is not None
        return self._socket.fileno()

    def reports(self) -> list[Report] | None:
        """Read the guardian's reports, without waiting."""
        assert self._socket is not None
        reports: list[Report] = []
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return reports
            except OSError:
                data = b""
            if not data:
                return reports or None
            for report in self._reader.feed(data):
                self._note(report)
                if not isinstance(report, Pong):
                    reports.append(report)

    def _note(self, report: Report) -> None:
        now = time.monotonic()
        if isinstance(report, ReadyReport):
            self._pulse = Pulse(now)
            self._sentinel = tree.processes([report.sentinel] if report.sentinel else [])
        elif isinstance(report, Pong) and self._pulse is not None:
            self._pulse.answered(report.number, now)
        elif isinstance(report, ForkedReport):
            self._executors.add(report.slot, report.incarnation, report.pid)
        elif isinstance(report, ExitedReport):
            self._executors.remove(report.slot, report.incarnation)

    def _order(self, order: Order, fds: tuple[int, ...] = (), *, optional: bool = False) -> None:
        if self._orders is None:  # the guardian was lost, and no executor is left
            return
        self.ensure_running()
        self._orders.put(order, fds, optional=optional)

    def flush(self) -> bool:
        """Send the orders that wait. Return whether some wait for room in the socket."""
        if self._orders is None:
            return False
        self._orders.flush()
        return self._orders.is_blocked

    # -- whether it answers -------------------------------------------------------------------------

    def silence(self) -> float:
        """Measure the guardian's silence (see Pulse). When it is held, send the signals that it was ordered to send."""
        if self._pulse is None or self._guardian is None:
            return 0.0
        self.flush()  # orders that had no room
        ping = self._pulse.look(time.monotonic(), usage.activity(self._guardian.pid))
        if ping is not None:
            self._order(Ping(ping), optional=True)
        if self._is_held:
            self._executors.signal_pending()
        return self._pulse.silence

    @property
    def _is_held(self) -> bool:
        return self._pulse is not None and self._pulse.silence >= GUARDIAN_TIMEOUT_IN_STOP

    @property
    def has_executors(self) -> bool:
        """Whether any executor is alive, also while no guardian reports its end."""
        return self._executors.any_lives()

    # -- executors ----------------------------------------------------------------------------------

    def start(self, slot: int, incarnation: int) -> Channels:
        """Make an executor's pipes and have the guardian fork it."""
        made: list[int] = []
        key = secrets.randbits(32)
        try:
            for _ in range(5):
                made.extend(os.pipe())
            (tasks_r, tasks_w, control_r, control_w, events_r, events_w, out_r, out_w, err_r, err_w) = made
            theirs = (tasks_r, control_r, events_w, out_w, err_w)
            self._order(Fork(slot, incarnation, key), (*theirs, out_r, err_r))
        except OSError:
            for fd in made:
                os.close(fd)
            raise
        self._incarnations[slot] = incarnation
        for fd in theirs:
            os.close(fd)
        for fd in (tasks_w, events_r, out_r, err_r):
            os.set_blocking(fd, False)
        return Channels(tasks_w, control_w, events_r, out_r, err_r, key)

    def terminate(self, slot: int, incarnation: int) -> None:
        """Order the stacks, then SIGTERM and SIGCONT."""
        self._order(Signal(slot, incarnation, signal.SIGTERM))
        self._executors.expect(slot, incarnation, signal.SIGTERM, now=self._is_held)

    def kill_tree(self, slot: int, incarnation: int) -> None:
        """Order SIGKILL for the whole tree."""
        self._order(KillTree(slot, incarnation))
        self._executors.expect(slot, incarnation, signal.SIGKILL, now=self._is_held)

    def raise_flag(self, signal: InterruptSignal) -> None:
        """Write the flags first, then one byte into the shared wake-up socket, which is never read: all see it."""
        self._flag.raise_all(signal)
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"!")

    def publish_next_rung(self, seconds: float | None) -> None:
        """Write the time of the next rung beside the flag."""
        self._flag.set_next_rung(None if seconds is None else time.monotonic() + seconds)

    def set_graces(self, grace: float, term_grace: float) -> None:
        """Send them to the guardian, and keep them for one that takes its place."""
        self._graces = Graces(grace, term_grace)
        self._order(self._graces)

    def progress(self, slot: int) -> SlotProgress:
        """Read shared memory."""
        return SlotProgress(*self._flag.progress(slot))

    def suspend(self) -> None:
        """Order the guardian to stop the executors; it is in no terminal's session and goes on."""
        self._order(Halt())

    def resume(self) -> None:
        """Order the guardian to continue the executors."""
        self._order(Continue())

    def processor_use(self, pid: int) -> usage.ProcessorUse | None:
        """Read it from /proc, or from what the host has instead."""
        return usage.processor_use(pid)

    def dump_stacks(self, slot: int) -> None:
        """Order the guardian to request the stacks: it can where C code holds the GIL, too."""
        self._order(Signal(slot, self._incarnations.get(slot, 0), STACK_DUMP_SIGNAL), optional=True)

    # -- the end ------------------------------------------------------------------------------------

    def ensure_running(self) -> None:
        """Send SIGCONT to the guardian: a stopped one ends nothing. It does nothing to one that runs."""
        if self._guardian is not None:
            self._guardian.send_signal(signal.SIGCONT)

    def sweep(self, seconds: float) -> None:
        """Order the guardian to end what is left, to report that, and to exit."""
        self._look_until = time.monotonic() + seconds
        self._order(Sweep(self._look_until))

    def kill_by_run_token(self, known: Sequence[str]) -> Cleanup:
        """End what carries the token although guardian and executors are gone."""
        self._is_clean = not known
        return self._end_left(self._look_until, known)

    def _find_leftovers(self, until: float) -> list[tree.Process]:
        """Return what still carries the token or is in its cgroup, without a guardian at work.

        The loop waits meanwhile: environments are read `until` then (monotonic seconds), or a little longer.
        """
        guardian = None if self._guardian is None or self._socket is None else self._guardian.pid
        others = [pid for pid in (guardian, *(process.pid for process in self._sentinel)) if pid is not None]
        seconds = max(LEAST_ENVIRONMENTS_TIMEOUT, until - time.monotonic())
        leftovers = marked_processes.of_supervisor(self._token.value, self._token.mark, self._since, others, seconds)
        if self._leaf is not None:
            known = {guardian, *(process.pid for process in leftovers)}
            leftovers += tree.processes(pid for pid in self._leaf.pids() if pid not in known)
        return leftovers

    def _end_left(self, until: float, known: Sequence[str] = ()) -> Cleanup:
        """Kill what is left until nothing is. Return what was found and what could not be ended.

        Processes are looked for twice at least, and `until` then (monotonic seconds). `known`: what the guardian could
        not end; it is killed, too, but not waited for. A guardian that was killed, and executors that die with it, are
        nothing that was left.
        """
        if self._settings.keep_children:
            return Cleanup([], [])
        descriptions: dict[int, str] = {}
        expected = self._executors.pids | {self.guardian_pid}

        def look() -> list[tree.Process]:
            leftovers = self._find_leftovers(until)
            if known:  # the guardian may have had no time to kill them
                not_waited_for = [process for process in leftovers if tree.describe(process) in known]
                tree.send_signal(not_waited_for, signal.SIGKILL)
                leftovers = [process for process in leftovers if process not in not_waited_for]
            new = [process for process in leftovers if process.pid not in descriptions and process.pid not in expected]
            descriptions.update((process.pid, tree.describe(process)) for process in new)
            return leftovers

        leftovers = end_repeatedly(look, until, least_looks=2)
        self._is_clean = self._is_clean and not leftovers
        return Cleanup(list(descriptions.values()), [tree.describe(process) for process in leftovers])

    def discard_guardian(self, seconds: float) -> Cleanup:
        """Kill the guardian and what it watched, and forget its socket."""
        until = time.monotonic() + seconds
        if self._guardian is not None and self._socket is not None:  # else it was lost before
            self._guardian.kill()
            _wait_until_dead(self._guardian, until)
        self._hang_up()
        tree.send_signal(self._sentinel, signal.SIGKILL)  # its work is done here
        if self._leaf is not None:
            self._leaf.kill()
            self._leaf.thaw()  # else the next guardian would freeze in it, too
        self._is_clean = True
        return self._end_left(until)

    def _hang_up(self) -> None:
        if self._orders is not None:
            self._orders.close()
        if self._socket is not None:
            self._socket.close()
        self._orders = self._socket = self._pulse = None

    def close(self) -> None:
        """Close the socket, which ends the guardian if it is still there, and wait for it."""
        if self._closed:
            return
        self._closed = True
        was_lost = self._socket is None
        self._hang_up()
        if self._guardian is not None:
            if was_lost or not self._is_clean:  # waited for already, or it goes on with what is left
                self._guardian.poll()
            else:
                _await(self._guardian)
        if self._leaf is not None and not self._leaf.remove():
            self._leaf.kill()  # cannot happen after a sweep; after a crash of ours it can
            self._leaf.remove(CGROUP_TIMEOUT if self._is_clean else 0.0)
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._flag.close()


def _check_descriptor_passing(sender: socket.socket, receiver: socket.socket) -> None:
    """Raise OSError where a sandbox refuses to pass descriptors: executors would never get their pipes."""
    try:
        socket.send_fds(sender, [b"!"], [sender.fileno()])
        for fd in socket.recv_fds(receiver, 1, 1)[1]:
            os.close(fd)
    except OSError as error:
        sender.close()
        receiver.close()
        what = "a sandbox refuses to pass descriptors over a socket (sendmsg, recvmsg with SCM_RIGHTS): allow that"
        raise OSError(error.errno, what) from error


def _wait_until_dead(process: subprocess.Popen[bytes], until: float) -> None:
    """Wait until a process is a zombie at least: a traced one can be reaped only after its tracer has."""
    while process.poll() is None and tree.pid_exists(process.pid) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)


def _wake_up_ends() -> tuple[int, int]:
    """Return the ends of the wake-up socket: one for executors to poll, one to write to.

    A socket, because a pipe's reader can open its other end through /proc/self/fd and wake all; this one cannot, and
    writing to the first end fails (shutdown(2)).
    """
    read, write = socket.socketpair()
    write.shutdown(socket.SHUT_RD)
    return read.detach(), write.detach()


def _await(process: subprocess.Popen[bytes]) -> None:
    """Wait for the guardian's exit. It may be in D state: kill it then. One that is stopped at its end is continued."""
    end = time.monotonic() + GUARDIAN_EXIT_TIMEOUT
    while time.monotonic() < end:
        process.send_signal(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
            return
    process.kill()
    _wait_until_dead(process, time.monotonic() + GUARDIAN_EXIT_TIMEOUT)


def _environment(run_id: str, token: str) -> dict[str, str]:
    """Return the environment of every process of the run. A service manager's sockets are the supervisor's alone."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN}
    environment[marks.RUN_VARIABLE] = run_id
    environment[marks.SUPERVISOR_VARIABLE] = token
    environment[marks.SLOT_VARIABLE] = marks.SLOT_PLACEHOLDER
    environment[PLUGINS_VARIABLE] = "__all__"
    return environment


@contextmanager
def _anonymous_file(data: bytes) -> Iterator[int]:
    """Open a descriptor to read this data from."""
    fd = anonymous_file("quiesce-settings")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the stop signals. The child inherits the mask: none arrives before it has installed its handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

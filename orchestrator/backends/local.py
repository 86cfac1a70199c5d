"""Run executors on this machine, below one guardian process."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.backends import Channels, Cleanup, SlotProgress, guardian_process, interpreter
from orchestrator.backends.executor_signals import ExecutorSignals
from orchestrator.backends.leftovers import Leftovers
from orchestrator.backends.order_queue import OrderQueue
from orchestrator.backends.previous_supervisor import PreviousSupervisor
from orchestrator.backends.pulse import Pulse
from orchestrator.backends.run_token import RunToken
from orchestrator.backends.wakeup_socket import WakeupSocket
from orchestrator.core.settings import RunSettings
from orchestrator.journal import SupervisorRecord
from orchestrator.logging.sinks import LogCallback
from runtime.ipc.flag import InterruptFlag
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
    UndoOrder,
)
from runtime.ipc.signals import STACK_DUMP_SIGNAL
from runtime.process import tree, usage
from runtime.process.oom import OomCounter
from runtime.stop_limits import (
    GUARDIAN_TIMEOUT_IN_STOP,
    TAKEOVER_SLACK,
)

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


class LocalBackend:
    """Run executors on this machine. See Backend."""

    def __init__(self, run_id: str, settings: RunSettings) -> None:
        self._run_id = run_id
        self._token = RunToken.make()
        self._settings = settings
        self._flag = InterruptFlag(settings.workers)
        self._wakeup = WakeupSocket()
        self._oom = OomCounter()
        self._socket: socket.socket | None = None
        self._orders: OrderQueue | None = None
        self._pulse: Pulse | None = None
        self._sentinel: list[tree.Process] = []
        self._executors = ExecutorSignals(self._flag)
        self._guardian: subprocess.Popen[bytes] | None = None
        self._reader: FrameReader[Report] = FrameReader(Report)
        self._leftovers = Leftovers(run_id, self._token, keep_children=settings.keep_children)
        self._incarnations: dict[int, int] = {}
        self._graces = Graces(settings.ladder.grace, settings.ladder.term_grace)
        self._closed = False
        self._look_until = 0.0

    # -- the guardian -------------------------------------------------------------------------------

    def open(self) -> None:
        """Start a guardian, the first one or one that takes its place."""
        if self._guardian is not None:  # an earlier guardian has sealed it
            self._flag.renew()
        ours, theirs = socket.socketpair()
        guardian_process.check_descriptor_passing(ours, theirs)
        settings = GuardianSettings(
            run_id=self._run_id,
            slots=self._settings.workers,
            flag_fd=self._flag.fd,
            socket_fd=theirs.fileno(),
            wake_read_fd=self._wakeup.read_fd,
            wake_write_fd=self._wakeup.write_fd,
            concurrency=self._settings.concurrency,
            grace=self._graces.grace,
            term_grace=self._graces.term_grace,
            heartbeat=self._settings.heartbeat,
            inheritance=interpreter.inheritance(),
            keep_children=self._settings.keep_children,
            report_above=self._settings.report_above,
            leaf=self._leftovers.cgroup,
            mark=self._token.mark,
            pydantic_plugins=os.environ.get(PLUGINS_VARIABLE),
            warning_signals=list(self._settings.warning_signals),
            slot_env={name: list(values) for name, values in self._settings.slot_env.items()},
        )
        inherited = (theirs.fileno(), self._flag.fd, self._wakeup.read_fd, self._wakeup.write_fd)
        try:
            with theirs:
                self._guardian = guardian_process.start(settings, inherited, self._token.value)
        except OSError:
            ours.close()
            raise
        self._leftovers.note_guardian(self._guardian.pid)
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
        """Write the flags first, then wake all."""
        self._flag.raise_all(signal)
        self._wakeup.wake()

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

    def reported_progress(self, slot: int, task: int, attempt: int) -> tuple[float, float | None] | None:
        """Read shared memory."""
        return self._flag.reported_progress(slot, task, attempt)

    def suspend(self) -> None:
        """Order the guardian to stop the executors; it is in no terminal's session and goes on."""
        self._order(Halt())

    def resume(self) -> None:
        """Order the guardian to continue the executors."""
        self._order(Continue())

    def processor_use(self, pid: int) -> usage.ProcessorUse | None:
        """Read it from /proc, or from what the host has instead."""
        return usage.processor_use(pid)

    def oom_kills(self) -> int | None:
        """Read the counter of our cgroup, or of the host."""
        return self._oom.kills()

    def available_memory(self) -> int | None:
        """Read the limit of our cgroup, or the host's memory."""
        return self._oom.limit()

    def dump_stacks(self, slot: int) -> None:
        """Order the guardian to request the stacks: it can where C code holds the GIL, too."""
        self._order(Signal(slot, self._incarnations.get(slot, 0), STACK_DUMP_SIGNAL), optional=True)

    def order_undo(self, order: UndoOrder) -> None:
        """Send it to the guardian."""
        self._order(order)

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
        return self._end_left(self._look_until, known)

    def _end_left(self, until: float, known: Sequence[str] = ()) -> Cleanup:
        guardian = None if self._guardian is None or self._socket is None else self._guardian.pid
        expected = self._executors.pids | {self.guardian_pid}
        return self._leftovers.end(until, guardian, self._sentinel, expected=expected, known=known)

    def discard_guardian(self, seconds: float) -> Cleanup:
        """Kill the guardian and what it watched, and forget its socket."""
        until = time.monotonic() + seconds
        if self._guardian is not None and self._socket is not None:  # else it was lost before
            self._guardian.kill()
            guardian_process.wait_until_dead(self._guardian, until)
        self._hang_up()
        tree.send_signal(self._sentinel, signal.SIGKILL)  # its work is done here
        self._leftovers.kill_cgroup()
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
            if was_lost or not self._leftovers.is_clean:  # waited for already, or it goes on with what is left
                self._guardian.poll()
            else:
                guardian_process.wait_for_exit(self._guardian)
        self._leftovers.remove_cgroup()
        self._wakeup.close()
        self._flag.close()

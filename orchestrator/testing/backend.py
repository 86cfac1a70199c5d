"""A backend without processes: executors are threads, the guardian is a flag and a pipe.

Everything above the backend is the real thing: engine, multiplexer, state machine, journal, hub. So a test of these
needs no process, and no time: with a ManualClock the ladder climbs when the test says so.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.backends import Channels, Cleanup, SlotProgress
from orchestrator.engine.clock import Clock, SystemClock
from orchestrator.testing.agent_call import Agent
from orchestrator.testing.clock import ManualClock
from orchestrator.testing.executor import FIRST_PID, FakeExecutor
from runtime.ipc.guardian_protocol import (
    DropUndo,
    ExitedReport,
    ForkedReport,
    HaltedReport,
    HoldUndo,
    Pong,
    ReadyReport,
    Report,
    RunUndo,
    SweepReport,
    UndoKeptReport,
    UndoOrder,
    UndoReport,
)
from runtime.ipc.undo import UndoResult
from runtime.process.usage import ProcessorUse

if TYPE_CHECKING:
    from orchestrator.core.settings import RunSettings
    from orchestrator.journal import SupervisorRecord
    from orchestrator.logging.sinks import LogCallback
    from runtime.model import InterruptSignal

JOIN_SECONDS = 5.0
"""Seconds that `close` waits for the threads of all executors."""

GUARDIAN_KILLED = -9
"""The exit code of executors that die with their guardian."""


class FakeBackend:
    """Run executors as threads of this process. It is its own factory: `Supervisor(backend=FakeBackend())`.

    agents: functions by the name under which a test registers them; others are loaded from what the supervisor sends.
    clock: the time that agents and heartbeats have. With a ManualClock, hand the same one to the RunSession.

    Faults that a test can cause: `kill_guardian`, `guardian_silence`, `fail_open`, `fail_starts`, `strays`,
    `unkillable`; and of one executor: `executor(slot).kill`, `hold`, `stop_heartbeat`, `send_bytes`, `write_output`.
    Use it for one run. Methods of Backend belong to the supervisor's loop, all others to any thread.
    """

    def __init__(self, agents: Mapping[str, Agent] | None = None, clock: Clock | None = None) -> None:
        self.agents = dict(agents or {})
        self.clock = clock or SystemClock()
        self.fail_open: OSError | None = None
        """What `open` raises."""
        self.fail_starts: deque[OSError] = deque()
        """What the next calls of `start` raise, one each."""
        self.guardian_silence = 0.0
        """Seconds for which the guardian neither answers nor works."""
        self.strays: list[str] = []
        """Processes that the sweep finds, each as `pid (command)`."""
        self.unkillable: list[str] = []
        """Those of them that it cannot end."""
        self.graces: tuple[float, float] | None = None
        """The last graces that the supervisor has set."""
        self.previous: list[SupervisorRecord] = []
        """The supervisors that were waited for."""
        self.oom_kill_count = 0
        """Processes that the host has killed for want of memory so far."""
        self.undo_held: dict[int, HoldUndo] = {}
        """The undo records that the guardian keeps, by number."""
        self.undo_runs: list[list[str]] = []
        """The undo commands that were started, in order."""
        self.undo_results: deque[UndoResult] = deque()
        """How the next ones end; all others succeed."""
        self.hold_undo = False
        """Whether undo commands hang: none that is started from now on ends."""
        self._executors: dict[int, FakeExecutor] = {}
        self._all_executors: list[FakeExecutor] = []
        self._lock = threading.Lock()
        self._reports: deque[Report] = deque()
        self._pids = iter(range(FIRST_PID, FIRST_PID + FIRST_PID))
        self._guardian_pid: int | None = None
        self._is_guardian_alive = False
        self._wake: tuple[int, int] | None = None
        self._next_rung_at: float | None = None
        self._is_bound = False
        self._run_id = ""
        self._closed = False

    def __call__(self, run_id: str, settings: RunSettings) -> FakeBackend:
        """Return itself, as the backend of a run. Raises RuntimeError for a second run."""
        if self._is_bound:
            raise RuntimeError("a FakeBackend is used for one run; make another one")
        self._is_bound = True
        self._run_id = run_id
        return self

    # -- what a test can do ---------------------------------------------------------------------------

    def executor(self, slot: int) -> FakeExecutor:
        """Return the current executor of a slot. Raises KeyError before the first one."""
        return self._executors[slot]

    @property
    def executors(self) -> Sequence[FakeExecutor]:
        """Every executor that was started, in order, with those that have exited."""
        return tuple(self._all_executors)

    def kill_guardian(self) -> None:
        """End the guardian; its executors die with it, and nothing reports their ends."""
        with self._lock:
            self._is_guardian_alive = False
            self._reports.clear()
        for executor in self.executors:
            executor.kill(GUARDIAN_KILLED)
        self._ring()

    def advance(self, seconds: float) -> None:
        """Advance a ManualClock, and wake the supervisor's loop to notice it."""
        if not isinstance(self.clock, ManualClock):
            raise TypeError("only a ManualClock can be advanced: FakeBackend(clock=ManualClock())")
        self.clock.advance(seconds)
        self._ring()

    def report(self, report: Report) -> None:
        """Report as the guardian; a dead one reports nothing."""
        with self._lock:
            if not self._is_guardian_alive:
                return
            self._reports.append(report)
        self._ring()

    def _ring(self) -> None:
        with self._lock:
            if self._wake is not None:
                with suppress(BlockingIOError):  # full: it is readable
                    os.write(self._wake[1], b"!")

    def _run_undo(self, order: RunUndo) -> None:
        self.undo_runs.append(order.command.argv)
        if not self.hold_undo:
            result = self.undo_results.popleft() if self.undo_results else UndoResult(done=True)
            self.report(UndoReport(order.number, result))

    # -- Backend --------------------------------------------------------------------------------------

    @property
    def token(self) -> str:
        """No text: there is no process to be known by it."""
        return ""

    @property
    def guardian_pid(self) -> int | None:
        """A number that no process has; None before the first `open`."""
        return self._guardian_pid

    def wait_for_previous(self, previous: SupervisorRecord, log: LogCallback, check: Callable[[], None]) -> bool:
        """Keep the record in `previous`. Return True: nothing is left of it."""
        check()
        self.previous.append(previous)
        return True

    def open(self) -> None:
        """Start a guardian that is ready at once. Raises what `fail_open` holds."""
        if self.fail_open is not None:
            raise self.fail_open
        with self._lock:
            self._close_wake()
            self._wake = os.pipe()
            for fd in self._wake:
                os.set_blocking(fd, False)
            self._is_guardian_alive = True
        self._guardian_pid = next(self._pids)
        self.report(ReadyReport(self._guardian_pid, ["fake"]))

    def fileno(self) -> int:
        """Return the descriptor that is readable when `reports` has something."""
        assert self._wake is not None, "open the backend first"
        return self._wake[0]

    def reports(self) -> list[Report] | None:
        """Return what happened since the last call; None once the guardian was killed."""
        with self._lock:
            with suppress(BlockingIOError):
                os.read(self.fileno(), 4096)
            if not self._is_guardian_alive:
                return None
            reports, self._reports = list(self._reports), deque()
        return [report for report in reports if not isinstance(report, Pong)]

    def flush(self) -> bool:
        """Return False: no order ever waits."""
        return False

    def silence(self) -> float:
        """Return `guardian_silence`."""
        return self.guardian_silence

    def ensure_running(self) -> None:
        """Do nothing: a fake guardian cannot be stopped."""

    def discard_guardian(self, seconds: float) -> Cleanup:
        """Kill the guardian and its executors."""
        self.kill_guardian()
        self.guardian_silence = 0.0
        return Cleanup(list(self.strays), list(self.unkillable))

    @property
    def has_executors(self) -> bool:
        """Whether any executor is alive."""
        return any(executor.is_alive for executor in self._all_executors)

    def start(self, slot: int, incarnation: int) -> Channels:
        """Start the threads of an executor. Raises what `fail_starts` holds next."""
        if self.fail_starts:
            raise self.fail_starts.popleft()
        executor = FakeExecutor(
            slot,
            incarnation,
            next(self._pids),
            agents=self.agents,
            clock=self.clock,
            on_exit=self._on_exit,
            next_rung_at=lambda: self._next_rung_at,
            run_id=self._run_id,
        )
        self._executors[slot] = executor
        self._all_executors.append(executor)
        self.report(ForkedReport(slot, incarnation, executor.pid))
        return executor.start()

    def _on_exit(self, executor: FakeExecutor, code: int) -> None:
        self.report(ExitedReport(executor.slot, executor.incarnation, executor.pid, code, 0.0, 0))

    def _current(self, slot: int, incarnation: int) -> Iterable[FakeExecutor]:
        executor = self._executors.get(slot)
        return [executor] if executor is not None and executor.incarnation == incarnation else []

    def raise_flag(self, signal: InterruptSignal) -> None:
        """Interrupt every executor that is not deaf to the flag."""
        for executor in self._executors.values():
            executor.raise_flag(signal)

    def publish_next_rung(self, seconds: float | None) -> None:
        """Keep it for `state.remaining_grace`."""
        self._next_rung_at = None if seconds is None else self.clock.monotonic() + seconds

    def terminate(self, slot: int, incarnation: int) -> None:
        """Interrupt an executor that is not deaf to SIGTERM."""
        for executor in self._current(slot, incarnation):
            executor.terminate()

    def kill_tree(self, slot: int, incarnation: int) -> None:
        """Kill an executor."""
        for executor in self._current(slot, incarnation):
            executor.kill()

    def set_graces(self, grace: float, term_grace: float) -> None:
        """Keep them in `graces`."""
        self.graces = (grace, term_grace)

    def progress(self, slot: int) -> SlotProgress:
        """Return what the slot's executor does now."""
        executor = self._executors.get(slot)
        return SlotProgress(0, 0.0, 0.0) if executor is None else executor.progress

    def reported_progress(self, slot: int, task: int, attempt: int) -> tuple[float, float | None] | None:
        """Return what the task gave to its state."""
        executor = self._executors.get(slot)
        return None if executor is None else executor.reported.get((task, attempt))

    def processor_use(self, pid: int) -> ProcessorUse | None:
        """Return None: threads are not accounted for."""
        return None

    def oom_kills(self) -> int | None:
        """Return what a test has set."""
        return self.oom_kill_count

    def available_memory(self) -> int | None:
        """Return 1 GiB."""
        return 1 << 30

    def dump_stacks(self, slot: int) -> None:
        """Do nothing: the stacks of this process's threads are a debugger's to show."""

    def order_undo(self, order: UndoOrder) -> None:
        """Keep records in `undo_held`, and "run" commands: they are in `undo_runs`, and end as `undo_results` says."""
        if isinstance(order, HoldUndo):
            self.undo_held[order.number] = order
            self.report(UndoKeptReport(order.number))
        elif isinstance(order, RunUndo):
            self._run_undo(order)
        elif isinstance(order, DropUndo):
            self.undo_held.pop(order.number, None)

    def suspend(self) -> None:
        """Report that all is stopped. Threads are not."""
        self.report(HaltedReport(sum(executor.is_alive for executor in self._all_executors)))

    def resume(self) -> None:
        """Do nothing: nothing was stopped."""

    def sweep(self, seconds: float) -> None:
        """Kill every executor that is left, and report `strays`."""
        for executor in self._all_executors:
            executor.kill()
        ended = len(self.strays) - len(self.unkillable)
        self.report(SweepReport(len(self.strays), ended, list(self.unkillable), list(self.strays)))

    def kill_by_run_token(self, known: Sequence[str]) -> Cleanup:
        """Return that nothing was found."""
        return Cleanup([], [])

    def close(self) -> None:
        """Kill every executor, and wait for its threads. Raises RuntimeError if an agent keeps one."""
        if self._closed:
            return
        self._closed = True
        self.kill_guardian()
        stuck = [executor for executor in self._all_executors if not executor.join(JOIN_SECONDS)]
        with self._lock:
            self._close_wake()
        if stuck:
            raise RuntimeError(f"agents of slots {[executor.slot for executor in stuck]} ignore their interrupt")

    def _close_wake(self) -> None:
        if self._wake is not None:
            for fd in self._wake:
                os.close(fd)
        self._wake = None

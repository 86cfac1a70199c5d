"""Watch the guardian: what it reports, its silence, its death, and the sweep at the end of a run."""

from __future__ import annotations

import selectors
import signal
from collections.abc import Callable
from contextlib import suppress

from orchestrator.backends import Backend, Cleanup
from orchestrator.core import stimuli
from orchestrator.descriptions import describe_exit
from orchestrator.engine.memory import MemoryMeasurer
from orchestrator.engine.multiplexer import PipeMultiplexer
from orchestrator.engine.oom_watch import OomWatch
from orchestrator.logging.sinks import LogCallback
from runtime.errors import WireError
from runtime.ipc.guardian_protocol import (
    ExitedReport,
    ForkedReport,
    HaltedReport,
    MemoryReport,
    ReadyReport,
    Report,
    StraysReport,
    SweepReport,
    UndoKeptReport,
    UndoReport,
)
from runtime.statuses import Severity
from runtime.stop_limits import GUARDIAN_LOSS_TIMEOUT, GUARDIAN_TIMEOUT, GUARDIAN_TIMEOUT_IN_STOP

NAMED = 20
"""How many of the processes that a dead guardian has left are named."""


class GuardianMonitor:
    """Turn what the guardian does into stimuli, and replace it when it is lost. Belongs to the loop.

    `handle` takes a stimulus now, `post` after the machine's instructions are carried out. `limit`: bytes that an
    executor's tree may hold before that is a stimulus. `is_stopping`: whether no executor is started any more. `now`:
    the loop's monotonic clock.
    """

    def __init__(
        self,
        backend: Backend,
        mux: PipeMultiplexer,
        selector: selectors.BaseSelector,
        handle: Callable[[stimuli.Stimulus], None],
        post: Callable[[stimuli.Stimulus], None],
        log: LogCallback,
        on_halted: Callable[[], None],
        limit: int | None,
        is_stopping: Callable[[], bool],
        now: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._mux = mux
        self._selector = selector
        self._handle = handle
        self._post = post
        self._log = log
        self._memory = MemoryMeasurer(limit, post)
        self._oom = OomWatch(backend.oom_kills, now)
        self._on_halted = on_halted
        self._is_stopping = is_stopping
        self._now = now
        self._sweeping = False
        self._sweep_until = 0.0
        self._guardian_lost = False
        self._lost = Cleanup([], [])
        self._writing = False

    def open(self) -> None:
        """Start a guardian, and listen to it. Raises OSError when the host has no process for it."""
        self._backend.open()
        self._oom.look()
        self._lost = Cleanup([], [])
        self._writing = False
        self._selector.register(self._backend.fileno(), selectors.EVENT_READ, self._on_ready)

    # -- reports -------------------------------------------------------------------------------

    def _on_ready(self) -> None:
        """Send orders if there is room again, and read reports."""
        if self._writing:
            self.send_orders()
        self._on_reports()

    def send_orders(self) -> None:
        """Send the orders that wait, and listen for room if they need it. Belongs at the end of every turn."""
        blocked = not self._guardian_lost and self._backend.flush()
        if blocked != self._writing:
            self._writing = blocked
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if blocked else 0)
            self._selector.modify(self._backend.fileno(), events, self._on_ready)

    def _on_reports(self) -> None:
        fd = self._backend.fileno()
        try:
            reports = self._backend.reports()
        except WireError as error:
            self._log("guardian.protocol_error", Severity.ERROR, {"reason": str(error)})
            reports = None
        if reports is None:
            self._unregister(fd)
            self._on_lost()
            return
        for report in reports:
            self._on_report(report)

    def _on_report(self, report: Report) -> None:
        if isinstance(report, ReadyReport | ForkedReport | StraysReport | UndoKeptReport | UndoReport):
            self._handle(report)
        elif isinstance(report, ExitedReport):
            self._on_exit(report)
        elif isinstance(report, MemoryReport):
            self._memory.measure(report)
        elif isinstance(report, HaltedReport):
            self._on_halted()
        elif isinstance(report, SweepReport) and self._sweeping and not self._guardian_lost:
            self._on_swept(report)

    def _on_swept(self, report: SweepReport) -> None:
        """End what the guardian could not see and still carries the run's token, and add it to the report."""
        found, unkillable = self._backend.kill_by_run_token(report.remaining)
        late = [process for process in found if process not in report.remaining]
        ended = report.ended + sum(process not in unkillable for process in late)
        remaining = list(dict.fromkeys([*report.remaining, *unkillable]))
        self._handle(SweepReport(report.found + len(late), ended, remaining, [*report.processes, *late]))

    def _on_exit(self, report: ExitedReport) -> None:
        """Handle the executor's last records first, then its exit."""
        in_hand = self._backend.progress(report.slot)[0]
        last_line = self._drain(report.slot, report.incarnation)
        is_oom = report.code == -signal.SIGKILL and self._oom.claim()
        self._handle(
            stimuli.ExecutorExited(
                report.slot, report.incarnation, report.pid, report.code, report.seconds, report.max_rss, in_hand,
                describe_exit(report.code), last_line, is_out_of_memory=is_oom,
                available_memory=self._backend.available_memory() if is_oom else None,
            )
        )  # fmt: skip

    def _drain(self, slot: int, incarnation: int) -> str:
        """Read what an executor that is gone has left in its pipes. Return its last line on standard error."""
        drained = self._mux.drain_and_close(slot, incarnation)
        if drained.torn:
            fields = {"slot": slot, "incarnation": incarnation, "bytes": drained.torn}
            self._log("executor.torn_frame", Severity.WARNING, fields)
        return drained.last_line

    # -- silence --------------------------------------------------------------------------------

    def check(self) -> None:
        """Replace a guardian that is held: traced, frozen, waiting for a disk that hangs. SIGCONT alone is tried first.

        In a stop its executors keep their graces, since the backend signals them itself; the guardian is replaced when
        the last of them has ended, because it would not report that.
        """
        if self._guardian_lost:
            return
        self._oom.look()
        self._backend.ensure_running()
        silence, stopping = self._backend.silence(), self._is_stopping()
        if silence < (GUARDIAN_TIMEOUT_IN_STOP if stopping else GUARDIAN_TIMEOUT):
            return
        if stopping and not self._sweeping and self._backend.has_executors:
            return
        self._log("guardian.held", Severity.ERROR, {"seconds": round(silence, 1)})
        self._unregister(self._backend.fileno())
        self._on_lost()

    # -- death ----------------------------------------------------------------------------------

    def _on_lost(self) -> None:
        """Replace a guardian that has died, and report the ends of its executors.

        They died with it (prctl(2), PR_SET_PDEATHSIG), or are killed now.
        """
        if self._sweeping:
            self.sweep_without_guardian()
            return
        in_hand = {slot: self._backend.progress(slot)[0] for slot in self._mux.slots}
        self._handle(stimuli.GuardianLost())
        seconds = 0.0 if self._is_stopping() else GUARDIAN_LOSS_TIMEOUT  # a stop looks again at its end
        self._lost = found, remaining = self._backend.discard_guardian(seconds)
        if found and not self._is_stopping():  # else the last look reports them
            fields = {"count": len(found), "processes": found[:NAMED], "remaining": remaining}
            self._log("guardian.strays", Severity.WARNING, fields)
        self._restart()
        for slot, incarnation in self._mux.slots.items():
            last_line = self._drain(slot, incarnation)
            reason = "the guardian was killed"
            exited = stimuli.ExecutorExited(
                slot, incarnation, 0, None, 0.0, 0, in_hand[slot], reason, last_line, with_guardian=True
            )
            self._handle(exited)

    def _restart(self) -> None:
        if self._is_stopping():  # the only thing left is the last look, which needs no guardian
            self._guardian_lost = True
            return
        try:
            self.open()
        except OSError as error:
            self._guardian_lost = True
            self._handle(stimuli.HostFailed(f"the guardian cannot be started again: {error.strerror or error}"))

    # -- the end ------------------------------------------------------------------------------------

    def sweep(self, until: float) -> None:
        """Have the guardian end what is left, and wait for that `until` then (monotonic seconds).

        A SweepReport follows.
        """
        self._sweeping = True
        self._sweep_until = until
        if self._guardian_lost:
            self.sweep_without_guardian()
        else:
            self._backend.sweep(self._seconds_until(until))

    def sweep_without_guardian(self) -> None:
        """End what is left without a guardian: it has died, or does not answer."""
        if not self._guardian_lost:
            self._unregister(self._backend.fileno())
        self._guardian_lost = True
        before = self._lost.found
        found, remaining = self._backend.discard_guardian(self._seconds_until(self._sweep_until))
        found = list({text.partition(" ")[0]: text for text in [*found, *before, *remaining]}.values())  # each pid once
        self._post(SweepReport(len(found), len(found) - len(remaining), remaining, found[:NAMED]))

    def _seconds_until(self, time: float) -> float:
        return max(0.0, time - self._now())

    def _unregister(self, fd: int) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(fd)

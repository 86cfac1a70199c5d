"""Perform the machine's instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.backends import Backend
from orchestrator.core import instructions, stimuli
from orchestrator.engine.guardian_monitor import GuardianMonitor
from orchestrator.engine.multiplexer import PipeMultiplexer
from orchestrator.engine.pending_writes import PendingWrites
from orchestrator.engine.task_store import Post, TaskStore


class Effects:
    """Perform instructions, each at once. Belongs to the loop. `end` ends that, `now` is its monotonic clock."""

    def __init__(
        self,
        backend: Backend,
        mux: PipeMultiplexer,
        guardian: GuardianMonitor,
        writes: PendingWrites,
        *,
        post: Post,
        on_agent: Callable[[instructions.ReportAgent], None],
        end: Callable[[], None],
        write_stacks: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._mux = mux
        self._guardian = guardian
        self._writes = writes
        self._post = post
        self._now = now
        self.store: TaskStore | None = None
        """Where tasks and outcomes are kept; known when the loop starts."""
        self._performers: dict[type[Any], Callable[[Any], None]] = {
            instructions.StartExecutor: self._start,
            instructions.SendOrder: lambda order: mux.send(order.slot, order.order),
            instructions.SendControl: lambda order: mux.send_control(order.slot, order.order),
            instructions.RaiseFlag: self._raise_flag,
            instructions.PublishNextRung: self._publish_next_rung,
            instructions.UpdateGraces: lambda order: backend.set_graces(order.grace, order.term_grace),
            instructions.TerminateExecutor: lambda order: backend.terminate(order.slot, order.incarnation),
            instructions.KillExecutor: lambda order: backend.kill_tree(order.slot, order.incarnation),
            instructions.FetchTasks: lambda order: self.require_store().fetch(order),
            instructions.CommitOutcomes: writes.add_outcomes,
            instructions.CommitAttempts: writes.add_attempts,
            instructions.CommitUndo: writes.add_undo,
            instructions.UpdateUndo: writes.add_undo_update,
            instructions.OrderUndo: lambda order: backend.order_undo(order.order),
            instructions.SetJournalDeadline: lambda order: self.require_store().set_deadline(order.at),
            instructions.ReportAgent: on_agent,
            instructions.SweepProcesses: self._sweep,
            instructions.SweepWithoutGuardian: lambda _: guardian.sweep_without_guardian(),
            instructions.WriteStacks: lambda _: write_stacks(),
            instructions.EmitLog: lambda order: writes.log(order.name, order.severity, order.fields, order.detail),
            instructions.StopLoop: lambda _: end(),
        }

    def perform(self, order: instructions.Instruction) -> None:
        """Perform one instruction."""
        self._performers[type(order)](order)

    def require_store(self) -> TaskStore:
        """Return the store: the loop has started."""
        assert self.store is not None
        return self.store

    def _start(self, order: instructions.StartExecutor) -> None:
        try:
            channels = self._backend.start(order.slot, order.incarnation)
        except OSError as error:
            reason = f"it could not be started: {error.strerror or error}"
            exited = stimuli.ExecutorExited(order.slot, order.incarnation, 0, None, 0.0, 0, 0, reason)
            self._post(exited)  # not handled now: the machine is in the middle of a turn
            return
        self._mux.open(order.slot, order.incarnation, channels)

    def _raise_flag(self, order: instructions.RaiseFlag) -> None:
        self._backend.raise_flag(order.signal)
        self._mux.limit_output()

    def _publish_next_rung(self, order: instructions.PublishNextRung) -> None:
        self._backend.publish_next_rung(None if order.at is None else max(0.0, order.at - self._now()))

    def _sweep(self, order: instructions.SweepProcesses) -> None:
        """Report what was dropped, and have the guardian look for what is left. No executor is alive any more."""
        self._writes.log_lost_events()
        self._guardian.sweep(order.until)

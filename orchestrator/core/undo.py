"""Undo records of a living run: when each is stored, handed to the guardian, run, tried again, and struck out. Pure.

Rules that it keeps:
- a task makes a resource only when its record is in the store *and* with the guardian (`UndoHeld`);
- a record is due when its task releases it, or has ended, or has lost its executor; one process at a time runs it;
- it is struck out after its command has succeeded or found nothing, never before. So each command succeeds once, but
  for one window: if guardian, supervisor or host dies between a success and the commit that strikes it out, it runs
  again;
- a record whose resource cannot exist, because its task still waits, is struck out without a run;
- of what one task has made, the last is removed first: it may use what was there before;
- while a resource may be in use, no other record with the very same command runs; and a task waits with a resource
  for the end of such a command that runs. So a name may be used again.

The end of a run waits for undo commands, but never longer than a stop may last (`ShutdownController.end_of_undo`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from msgspec.structs import replace

from orchestrator.core import stimuli
from orchestrator.core.instructions import CommitUndo, OrderUndo, SendControl, UpdateUndo
from orchestrator.core.slots import Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.undo_records import UndoState, describe, state_after
from runtime.ipc import executor_protocol, guardian_protocol
from runtime.ipc.undo import ORDER_SECONDS, UndoCommand, check, may_start, retry_delay
from runtime.statuses import Severity

MAX_RUNNING: Final = 64
"""Undo commands that run at once. Many, so that those that hang keep none of the others waiting."""

TRIES_AT_END: Final = 3
"""Starts of a command after which the end of a run no longer waits for it."""

NAMED: Final = 20
"""Outstanding records that are named in the log."""


class Stage(StrEnum):
    """Name where a record is on its way."""

    STORING = "storing"
    HOLDING = "holding"
    WAITING = "waiting"
    OPEN = "open"
    DUE = "due"
    RUNNING = "running"


@dataclass(slots=True)
class _Entry:
    """An outstanding record. `local` is the executor's own number; `slot` is -1 for a record of an earlier start.

    Stages: STORING (the store is asked), HOLDING (the guardian is asked), WAITING (the same command runs for another
    record), OPEN (its resource may be in use), DUE (at `due_at`), RUNNING.
    """

    number: int
    task: int
    key: str
    attempt: int
    command: UndoCommand
    slot: int
    incarnation: int
    local: int
    stage: Stage = Stage.STORING
    tries: int = 0
    due_at: float = 0.0
    started_at: float = 0.0
    error: str = ""
    is_tried: bool = False

    @property
    def is_being_removed(self) -> bool:
        """Whether its command runs, or is to run for the first time."""
        return self.stage is Stage.RUNNING or (self.stage is Stage.DUE and not self.is_tried)

    @property
    def argv(self) -> tuple[str, ...]:
        """The command by which resources are compared."""
        return tuple(self.command.argv)


class UndoLedger:
    """Decide what becomes of undo records."""

    def __init__(self, state: SupervisorState) -> None:
        self._state = state
        self._entries: dict[int, _Entry] = {}
        self._last = 0
        self._journal: guardian_protocol.UndoJournal | None = None
        self._is_guardian_told = False
        self._has_guardian = True
        self._looked_at = -math.inf
        self.struck_out = 0
        """Records that were struck out, and not because their resource is kept."""

    def __bool__(self) -> bool:
        return bool(self._entries)

    @property
    def outstanding(self) -> list[str]:
        """Return the commands of the records that are not struck out, for people."""
        return [describe(entry.command) for entry in self._entries.values()]

    # -- keeping ------------------------------------------------------------------------------------

    def on_deferred(self, slot: Slot, record: executor_protocol.UndoDeferred, _now: float) -> None:
        """Store a record that a task waits for. Raises ValueError, having done nothing, for one that makes no sense."""
        assignment = slot.assigned.get(record.task)
        if assignment is None:
            return
        try:
            check(record.command)
        except TypeError as error:
            raise ValueError(str(error)) from error
        if self._find(slot, record.task, record.number) is not None:
            raise ValueError(f"undo record {record.number} was sent before")
        timeout = record.command.timeout or self._state.settings.undo_timeout
        self._last += 1
        entry = _Entry(
            number=self._last,
            task=record.task,
            key=assignment.task.key,
            attempt=assignment.attempt,
            command=replace(record.command, timeout=timeout),
            slot=slot.number,
            incarnation=slot.incarnation,
            local=record.number,
        )
        self._entries[entry.number] = entry
        self._state.emit(CommitUndo(entry.number, entry.task, entry.attempt, entry.command))

    def on_committed(self, stimulus: stimuli.UndoCommitted, _now: float) -> None:
        """Hand records that the store has to the guardian."""
        for number in stimulus.numbers:
            entry = self._entries.get(number)
            if entry is not None and entry.stage is Stage.STORING:
                entry.stage = Stage.HOLDING
                if self._has_guardian:
                    self._hand_over(entry)

    def _hand_over(self, entry: _Entry) -> None:
        if self._journal is not None and not self._is_guardian_told:
            self._is_guardian_told = True
            self._state.emit(OrderUndo(self._journal))
        order = guardian_protocol.HoldUndo(
            entry.number, entry.slot, entry.incarnation, entry.command, entry.tries, entry.task
        )
        self._state.emit(OrderUndo(order))

    def on_kept(self, report: guardian_protocol.UndoKeptReport, _now: float) -> None:
        """Let a task make its resource: store and guardian have the record."""
        entry = self._entries.get(report.number)
        if entry is not None and entry.stage is Stage.HOLDING:
            entry.stage = Stage.WAITING
            self._let_go_on()

    def _let_go_on(self) -> None:
        """Let those tasks make their resources whose command neither runs nor is about to run for another record."""
        running = {entry.argv for entry in self._entries.values() if entry.is_being_removed}
        for entry in self._entries.values():
            if entry.stage is Stage.WAITING and entry.argv not in running:
                entry.stage = Stage.OPEN
                self._state.emit(SendControl(entry.slot, executor_protocol.UndoHeld(entry.task, entry.local)))
                self._log("undo.recorded", entry, Severity.DEBUG)

    def on_journal_opened(self, stimulus: stimuli.UndoJournalOpened, now: float) -> None:
        """Take over what earlier starts of the run have left. Nothing of them runs any more, so all of it is due."""
        self._journal, self._last = stimulus.journal, max(self._last, stimulus.last)
        for record in stimulus.records:
            entry = _Entry(
                number=record.number,
                task=record.task,
                key=stimulus.keys.get(record.task, ""),
                attempt=record.attempt,
                command=record.command,
                slot=-1,
                incarnation=0,
                local=0,
                stage=Stage.DUE,
                tries=record.tries,
                due_at=now,
            )
            self._entries[entry.number] = entry
            if self._has_guardian:
                self._hand_over(entry)
            self._log("undo.recalled", entry, Severity.WARNING)
        if stimulus.elsewhere:
            self._state.log(
                "undo.elsewhere",
                Severity.WARNING,
                count=len(stimulus.elsewhere),
                hosts=sorted({record.host for record in stimulus.elsewhere}),
                commands=[describe(record.command) for record in stimulus.elsewhere[:NAMED]],
            )

    # -- release ------------------------------------------------------------------------------------

    def on_released(self, slot: Slot, record: executor_protocol.UndoReleased, now: float) -> None:
        """Undo a resource that its task needs no more, or strike it out because it is kept."""
        entry = self._find(slot, record.task, record.number)
        if entry is None or entry.stage in (Stage.DUE, Stage.RUNNING):
            return
        if record.kept:
            self._strike_out(entry, UndoState.KEPT)
        else:
            self._release(entry, now)

    def release_ended(self, now: float) -> None:
        """Undo what belongs to tasks that are with their executors no more. Call it after every stimulus."""
        for entry in tuple(self._entries.values()):
            if entry.stage in (Stage.DUE, Stage.RUNNING):
                continue
            slot = self._state.slot(entry.slot, entry.incarnation)
            if slot is None or entry.task not in slot.assigned:
                self._release(entry, now)

    def _release(self, entry: _Entry, now: float) -> None:
        if entry.stage is not Stage.OPEN:  # its task waits, so there is no resource
            self._strike_out(entry, UndoState.ABSENT)
            return
        entry.stage, entry.due_at = Stage.DUE, now

    def _find(self, slot: Slot, task: int, local: int) -> _Entry | None:
        wanted = (slot.number, slot.incarnation, task, local)
        entries = self._entries.values()
        return next((one for one in entries if (one.slot, one.incarnation, one.task, one.local) == wanted), None)

    # -- running ------------------------------------------------------------------------------------

    def start_due(self, now: float) -> None:
        """Run the commands that are due: of what one task has made, the last first."""
        self._looked_at = now
        if not self._has_guardian:
            return
        running = sum(entry.stage is Stage.RUNNING for entry in self._entries.values())
        busy = {entry.argv for entry in self._entries.values() if entry.stage in (Stage.OPEN, Stage.RUNNING)}
        later: dict[tuple[int, int], list[float | None]] = {}
        for entry in reversed(self._entries.values()):
            of_task = later.setdefault((entry.task, entry.attempt), [])
            is_due = entry.stage is Stage.DUE and entry.due_at <= now
            if is_due and running < MAX_RUNNING and entry.argv not in busy and may_start(of_task, now):
                running += 1
                busy.add(entry.argv)
                self._start(entry, now)
            if entry.stage is Stage.RUNNING:
                of_task.append(entry.started_at)
            elif entry.stage is Stage.DUE and not entry.is_tried:
                of_task.append(None)

    def _start(self, entry: _Entry, now: float) -> None:
        entry.stage, entry.started_at = Stage.RUNNING, now
        entry.tries += 1
        self._state.emit(UpdateUndo(entry.number, UndoState.RUNNING, entry.tries))
        self._state.emit(OrderUndo(guardian_protocol.RunUndo(entry.number, entry.command, entry.tries)))

    def on_report(self, report: guardian_protocol.UndoReport, now: float) -> None:
        """Strike a record out whose command has succeeded, or try it again later."""
        entry = self._entries.get(report.number)
        if entry is None or entry.stage is not Stage.RUNNING:
            return
        result = report.result
        if result.done:
            self._strike_out(entry, state_after(result), result.seconds)
        else:
            delay = retry_delay(entry.tries)
            entry.stage, entry.due_at, entry.error = Stage.DUE, now + delay, result.error
            entry.is_tried = True
            self._state.emit(UpdateUndo(entry.number, UndoState.HELD, entry.tries, result.error))
            fields = {"error": result.error, "tries": entry.tries, "seconds": result.seconds}
            if result.is_cut_off:
                self._log("undo.cut_off", entry, Severity.WARNING, **fields)
            else:
                self._log("undo.failed", entry, Severity.WARNING, **fields, retry_in=delay)
        self._let_go_on()

    def _strike_out(self, entry: _Entry, state: UndoState, seconds: float = 0.0) -> None:
        del self._entries[entry.number]
        self._state.emit(UpdateUndo(entry.number, state, entry.tries))
        if entry.stage is not Stage.RUNNING:  # else the guardian has dropped it
            self._state.emit(OrderUndo(guardian_protocol.DropUndo(entry.number)))
        if state is UndoState.KEPT:
            self._log("undo.kept", entry)
        else:
            self.struck_out += 1
            found = state is UndoState.UNDONE
            self._log("undo.done", entry, found=found, tries=entry.tries, seconds=seconds)

    # -- the guardian -------------------------------------------------------------------------------

    def on_guardian_lost(self, now: float) -> None:
        """Run again what a dead guardian ran: it is not known whether that has succeeded."""
        self._has_guardian = self._is_guardian_told = False
        for entry in self._entries.values():
            if entry.stage is Stage.RUNNING:
                entry.stage, entry.due_at = Stage.DUE, now

    def on_guardian_ready(self) -> None:
        """Hand all records to a guardian that takes the place of another one."""
        if self._has_guardian:
            return
        self._has_guardian = True
        for entry in self._entries.values():
            if entry.stage is not Stage.STORING:
                self._hand_over(entry)

    # -- the end ------------------------------------------------------------------------------------

    @property
    def is_awaited(self) -> bool:
        """Whether the end of the run is to wait for a command, if there is time."""
        return self._has_guardian and any(
            entry.stage is Stage.RUNNING or (entry.stage is Stage.DUE and entry.tries < TRIES_AT_END)
            for entry in self._entries.values()
        )

    @property
    def due(self) -> float | None:
        """Return when the next command is to be started (monotonic seconds)."""
        if not self._has_guardian:
            return None
        entries = self._entries.values()
        times = [entry.due_at for entry in entries if entry.stage is Stage.DUE]
        if times:
            times += [entry.started_at + ORDER_SECONDS for entry in entries if entry.stage is Stage.RUNNING]
        # what was due and did not start waits for a report, after which it is looked at again
        return min((time for time in times if time > self._looked_at), default=None)

    def log_outstanding(self) -> None:
        """Log what the run leaves behind."""
        if self._entries:
            hint = "quiesce clean RUN, or the next start of the run" if self._journal else "run these commands"
            self._state.log(
                "undo.outstanding",
                Severity.WARNING,
                count=len(self._entries),
                commands=self.outstanding[:NAMED],
                errors=sorted({entry.error for entry in self._entries.values() if entry.error})[:NAMED],
                hint=hint,
            )

    def _log(self, name: str, entry: _Entry, severity: Severity = Severity.INFO, **fields: Any) -> None:
        about: dict[str, Any] = {
            "key": entry.key,
            "attempt": entry.attempt,
            "number": entry.number,
            "kind": entry.command.kind,
        }
        self._state.log(name, severity, **about, command=describe(entry.command), **fields)

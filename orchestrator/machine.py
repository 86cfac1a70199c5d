"""All decisions, and nothing else: stimuli and the time go in, instructions come out. Pure.

The machine has memory (the slots, the backlog, the ladder) but no effect: no os, no signal, no clock. `now` is
monotonic seconds. It is not rebuilt from a copy at every step, because at 50,000 tasks a second the copies
would cost more than the work; what a pure function buys, tests that feed stimuli and read instructions,
stays.

Rules that it keeps:
- a task is with one executor at most, and an outcome that is final is recorded once;
- after the first interrupt no task is handed out and no executor is started;
- a stop ends at most `ladder.total` later, whatever is or is not heard;
- the first signal wins and never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from orchestrator import stimuli as told
from orchestrator.backlog import Backlog
from orchestrator.config import Settings
from orchestrator.instructions import (
    AgentKnown,
    Fetch,
    Finish,
    Instruction,
    KillTree,
    Log,
    RaiseFlag,
    Record,
    RecordAttempts,
    Send,
    SendControl,
    ShowRung,
    StartExecutor,
    SweepProcesses,
    Terminate,
)
from orchestrator.ladder import Climb, Rung
from orchestrator.records import Outcome, PendingTask
from orchestrator.settle import Verdict, crash, failed_start, judge, outcome_of
from orchestrator.slots import Assigned, Slot, SlotState
from orchestrator.view import Phase, StatusView, view
from runtime import wire
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal, Severity

DEBOUNCE = 0.5
"""Seconds in which a second signal counts as the same press: a terminal and a parent may both send one."""

PREFETCH = 0.02
"""Seconds of work that an executor may hold in advance, by the average of the tasks so far."""

MAX_WINDOW = 512
"""Tasks that an executor may hold in advance, however short they are."""

IDLE_BEFORE_REVOKE = 0.05
"""Seconds that an executor may sit on unbegun tasks while another one is idle."""

START_FAILURES = 5
"""Executors that may die in a row before one is ready; then the environment is broken and the run ends."""

MAX_BACKOFF = 5.0
"""Seconds; the longest wait before an executor is started again."""


class Machine:
    """The supervisor's mind. Feed it with `handle`, ask `due` when to send a Tick."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.phase = Phase.RUNNING
        self.slots = [Slot(number) for number in range(settings.workers)]
        self.backlog = Backlog()
        self.signal: InterruptSignal | None = None
        self.error: str | None = None
        self.accepted = 0
        self.counts = dict.fromkeys(ExecutionStatus, 0)
        self.remaining: Sequence[str] = ()
        self._agents: dict[int, wire.Hire] = {}
        self._known: dict[int, wire.Hired] = {}
        self._refused: set[int] = set()
        self._sealed = False
        self._climb = Climb(settings.ladder)
        self._pressed_at: float | None = None
        self._stopped_at = 0.0
        self._ends_at: float | None = None
        self._task_seconds: float | None = None
        self._uncommitted = 0
        self._journal_broken = False
        self._start_failures = 0
        self._cleaned = 0
        self._out: list[Instruction] = []
        self._outcomes: list[Outcome] = []
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            told.Begin: self._begin,
            told.HireAgent: self._hire,
            told.Spooled: self._spooled,
            told.Resumed: self._resumed,
            told.Fetched: self._fetched,
            told.Sealed: self._seal,
            told.Forked: self._forked,
            told.Heard: self._heard,
            told.Garbled: self._garbled,
            told.Exited: self._exited,
            told.StraysFound: self._strays,
            told.Swept: self._swept,
            told.Committed: self._committed,
            told.JournalFailed: self._journal_failed,
            told.Interrupt: self._interrupt,
            told.Signalled: self._signalled,
            told.Progress: self._progress,
            told.Tick: self._tick,
        }
        self._records: dict[type[Any], Callable[[Slot, Any, float], None]] = {
            wire.Done: self._done,
            wire.Started: self._started,
            wire.Ready: self._ready,
            wire.Hired: self._hired,
            wire.Refused: self._agent_refused,
            wire.Returned: self._returned,
            wire.Snapshot: self._snapshot,
            wire.Bye: self._bye,
        }

    # -- the engine's side --------------------------------------------------------------------------

    def handle(self, stimulus: told.Stimulus, now: float) -> list[Instruction]:
        """Take one stimulus at `now` (monotonic seconds); what is to be done, in order."""
        self._handlers[type(stimulus)](stimulus, now)
        if self._outcomes:
            self._uncommitted += len(self._outcomes)
            self._do(Record(self._outcomes))
            self._outcomes = []
        self._go_on(now)
        out, self._out = self._out, []
        return out

    def due(self) -> float | None:
        """When the next Tick is needed (monotonic seconds), None if only a stimulus can change anything."""
        times = [self._climb.due, self._ends_at, *(slot.climb.due for slot in self.slots if slot.climb)]
        if self.phase is Phase.RUNNING:
            times.append(self.backlog.due)
            times.extend(slot.restart_at for slot in self.slots if not slot.is_alive and slot.restart_at)
            times.extend(self._hoarders_due())
        return min((time for time in times if time is not None), default=None)

    def view(self, now: float) -> StatusView:
        """What a person may see of it."""
        return view(self, self._climb, now)

    @property
    def outstanding(self) -> int:
        """Tasks that are with an executor."""
        return sum(len(slot.assigned) for slot in self.slots)

    def _do(self, instruction: Instruction) -> None:
        self._out.append(instruction)

    def _log(self, name: str, severity: Severity = Severity.INFO, **fields: Any) -> None:
        self._out.append(Log(name, severity, fields))

    # -- tasks come ---------------------------------------------------------------------------------

    def _begin(self, _: told.Begin, now: float) -> None:
        if self.settings.deadline is not None:
            self._ends_at = now + self.settings.deadline

    def _hire(self, stimulus: told.HireAgent, _now: float) -> None:
        order = wire.Hire(stimulus.agent, stimulus.by_name, stimulus.source)
        self._agents[stimulus.agent] = order
        for slot in self.slots:
            if slot.state is SlotState.READY:
                self._do(Send(slot.number, order))

    def _spooled(self, stimulus: told.Spooled, _now: float) -> None:
        self.accepted += stimulus.count
        self.backlog.spooled(stimulus.last_seq)

    def _resumed(self, stimulus: told.Resumed, _now: float) -> None:
        self.accepted += stimulus.accepted
        self.counts[ExecutionStatus.COMPLETED] += stimulus.completed
        self.counts[ExecutionStatus.FAILED] += stimulus.failed
        self.backlog.spooled(stimulus.last_seq)

    def _fetched(self, stimulus: told.Fetched, _now: float) -> None:
        self.backlog.fetched(stimulus.tasks, stimulus.read_to)

    def _seal(self, _: told.Sealed, _now: float) -> None:
        self._sealed = True

    # -- executors come and go ----------------------------------------------------------------------

    def _slot(self, number: int, incarnation: int) -> Slot | None:
        """The slot, if it still holds that incarnation."""
        slot = self.slots[number]
        return slot if slot.incarnation == incarnation and slot.is_alive else None

    def _start(self, slot: Slot, now: float) -> None:
        slot.incarnation += 1
        slot.state = SlotState.STARTING
        slot.started_at = slot.heard_at = now
        slot.restart_at = 0.0
        self._do(StartExecutor(slot.number, slot.incarnation))

    def _forked(self, stimulus: told.Forked, _now: float) -> None:
        slot = self._slot(stimulus.slot, stimulus.incarnation)
        if slot is not None:
            slot.pid = stimulus.pid

    def _heard(self, stimulus: told.Heard, now: float) -> None:
        slot = self._slot(stimulus.slot, stimulus.incarnation)
        if slot is None:
            return
        slot.heard_at = now
        for record in stimulus.records:
            self._records[type(record)](slot, record, now)

    def _ready(self, slot: Slot, record: wire.Ready, now: float) -> None:
        if record.version != wire.VERSION:
            self._distrust(slot, f"it speaks version {record.version} of the wire, not {wire.VERSION}")
            return
        slot.state = SlotState.READY
        slot.pid = record.pid
        self._log(
            "executor.started", slot=slot.number, incarnation=slot.incarnation, pid=record.pid,
            seconds=round(now - slot.started_at, 4),
        )  # fmt: skip
        for order in self._agents.values():
            self._do(Send(slot.number, order))

    def _hired(self, _slot: Slot, record: wire.Hired, _now: float) -> None:
        self._start_failures = 0
        if record.agent not in self._known:
            self._known[record.agent] = record
            self._do(AgentKnown(record.agent, record.name))

    def _agent_refused(self, slot: Slot, record: wire.Refused, now: float) -> None:
        if record.agent in self._known:  # it loaded elsewhere: this executor is in a changed world
            slot.why = record.message
            self._leave(slot, now)
        elif record.agent not in self._refused:
            self._refused.add(record.agent)
            self._do(AgentKnown(record.agent, "", record.message, record.detail))

    def _bye(self, slot: Slot, _record: wire.Bye, _now: float) -> None:
        slot.state = SlotState.LEAVING

    def _leave(self, slot: Slot, now: float) -> None:
        """Have one executor end, by the ladder if it does not."""
        self._do(Send(slot.number, wire.Retire()))
        slot.state = SlotState.LEAVING
        slot.climb = Climb(self.settings.ladder, Rung.FLAG, now)

    def _garbled(self, stimulus: told.Garbled, _now: float) -> None:
        slot = self._slot(stimulus.slot, stimulus.incarnation)
        if slot is not None:
            self._distrust(slot, stimulus.why)

    def _distrust(self, slot: Slot, why: str) -> None:
        slot.why = why
        slot.state = SlotState.LEAVING
        self._log(
            "executor.garbled", Severity.ERROR, slot=slot.number, incarnation=slot.incarnation, pid=slot.pid, why=why
        )
        self._do(KillTree(slot.number, slot.incarnation))

    def _exited(self, stimulus: told.Exited, now: float) -> None:
        slot = self._slot(stimulus.slot, stimulus.incarnation)
        if slot is None:
            return
        was, why, climb = slot.state, slot.why, slot.climb
        expected = was is SlotState.LEAVING or self.phase is not Phase.RUNNING
        self._log(
            "executor.exited", Severity.INFO if expected and why is None else Severity.WARNING,
            slot=slot.number, incarnation=slot.incarnation, pid=stimulus.pid, exit=stimulus.how, code=stimulus.code,
            seconds=round(stimulus.seconds, 3), max_rss=stimulus.max_rss, tasks=len(slot.assigned),
            **({"why": why} if why else {}),
        )  # fmt: skip
        left = slot.vacate()
        self._charge(left, stimulus, why, climb, now)
        failed = was is SlotState.STARTING or why is not None
        slot.failures = slot.failures + 1 if failed else 0
        slot.restart_at = now + (min(MAX_BACKOFF, 0.1 * 2**slot.failures) if failed else 0.0)
        if was is SlotState.STARTING and self.phase is Phase.RUNNING:
            self._start_failures += 1
            if self._start_failures >= START_FAILURES:
                self._fail(failed_start(self._start_failures, stimulus.how), now)

    def _charge(
        self, left: list[Assigned], exited: told.Exited, why: str | None, climb: Climb | None, now: float
    ) -> None:
        """Whose fault was it? That task pays an attempt; the others did not begin, or are innocent."""
        begun = [one for one in left if one.since is not None or one.task.seq == exited.in_hand]
        unbegun = [one.task for one in left if one not in begun]
        asked = [one for one in begun if one.asked is not None]
        if self.signal is not None:
            for one in begun:
                self._record(one, exited, ExecutionStatus.INTERRUPTED, f"ended by {exited.how}", now)
        elif climb is not None and asked:
            for one in asked:
                self._settle(one, judge(one, one.asked, stopping=False), exited, f"ended by {exited.how}", now)
            self.backlog.put_back([one.task for one in begun if one not in asked])
        elif len(begun) == 1:
            self._crashed(begun[0], exited, why, now)
        else:
            self.backlog.suspect([one.task for one in begun])
        self.backlog.put_back(unbegun)

    def _crashed(self, one: Assigned, exited: told.Exited, why: str | None, now: float) -> None:
        crashes = self.backlog.crashed(one.task.seq)
        text = crash(exited.how, why)
        self._log("task.crashed", Severity.WARNING, key=one.task.key, attempt=one.attempt, crashes=crashes, error=text)
        if crashes >= self.settings.crash_limit:
            self._record(one, exited, ExecutionStatus.FAILED, f"{text} ({crashes} times)", now)
        else:
            self._again(one, now, 0.0)

    def _strays(self, stimulus: told.StraysFound, _now: float) -> None:
        self._cleaned += len(stimulus.found)
        self._log(
            "executor.strays", Severity.WARNING, slot=stimulus.slot, incarnation=stimulus.incarnation,
            count=len(stimulus.found), processes=list(stimulus.found),
        )  # fmt: skip

    # -- tasks end ----------------------------------------------------------------------------------

    def _started(self, slot: Slot, record: wire.Started, now: float) -> None:
        if record.task in slot.assigned:
            slot.assigned[record.task].since = now

    def _snapshot(self, slot: Slot, record: wire.Snapshot, _now: float) -> None:
        one = slot.assigned.get(record.task)
        if one is not None:
            one.task = replace(one.task, snapshot=record.data, snapshot_encoding=record.encoding)

    def _returned(self, slot: Slot, record: wire.Returned, _now: float) -> None:
        slot.revoking = False
        back = [slot.assigned.pop(task) for task in record.tasks if task in slot.assigned]
        self.backlog.put_back([one.task for one in reversed(back)])

    def _done(self, slot: Slot, record: wire.Done, now: float) -> None:
        one = slot.assigned.pop(record.task, None)
        if one is None:
            return
        slot.alone = False
        if one.asked is not None:
            slot.climb = None
        if record.status == ExecutionStatus.COMPLETED:
            self._average(record.seconds)
            self._outcomes.append(outcome_of(one, slot, record, ExecutionStatus.COMPLETED))
        elif record.status == ExecutionStatus.INTERRUPTED:
            signal = InterruptSignal.model_validate_json(record.signal) if record.signal else one.asked
            verdict = judge(one, signal, stopping=self.signal is not None)
            self._settle(one, verdict, slot, record.error, now, record)
        else:
            self._average(record.seconds)
            self._settle(one, Verdict.FAILED, slot, record.error, now, record)

    def _settle(
        self,
        one: Assigned,
        verdict: Verdict,
        where: Slot | told.Exited,
        error: str | None,
        now: float,
        record: wire.Done | None = None,
    ) -> None:
        """Carry a verdict out: final, again, or kept for the next start."""
        if verdict is Verdict.AGAIN:
            self.backlog.put_back([one.task])
        elif verdict is Verdict.INTERRUPTED:
            self._record(one, where, ExecutionStatus.INTERRUPTED, error, now, record)
        elif one.attempt <= self.settings.retries and self.signal is None:
            self._log("task.retrying", Severity.WARNING, key=one.task.key, attempt=one.attempt, error=error)
            self._again(one, now, min(30.0, 0.2 * 2 ** (one.attempt - 1)))
        else:
            self._record(one, where, ExecutionStatus.FAILED, error, now, record)

    def _again(self, one: Assigned, now: float, delay: float) -> None:
        """Run a task again; the attempt it has used is kept in the journal too."""
        task = replace(one.task, attempts=one.attempt)
        self._do(RecordAttempts({task.seq: one.attempt}))
        if self.signal is None:
            self.backlog.retry(task, now + delay)

    def _record(
        self,
        one: Assigned,
        where: Slot | told.Exited,
        status: ExecutionStatus,
        error: str | None,
        now: float,
        record: wire.Done | None = None,
    ) -> None:
        self._outcomes.append(outcome_of(one, where, record, status, error, self._asked_signal(one, status)))
        failed = self.counts[ExecutionStatus.FAILED] + sum(
            outcome.status is ExecutionStatus.FAILED for outcome in self._outcomes
        )
        limit = self.settings.max_failures
        ended = failed + self.counts[ExecutionStatus.COMPLETED]
        if status is ExecutionStatus.FAILED and limit is not None and limit.is_exceeded(failed, ended):
            self._stop(
                InterruptSignal(
                    reason=InterruptReason.ERROR_THRESHOLD,
                    message=f"{failed} tasks failed",
                    triggered_by="max-failures",
                ),
                now,
            )

    def _asked_signal(self, one: Assigned, status: ExecutionStatus) -> InterruptSignal | None:
        return one.asked or (self.signal if status is ExecutionStatus.INTERRUPTED else None)

    def _average(self, seconds: float) -> None:
        old = self._task_seconds
        self._task_seconds = seconds if old is None else old + 0.1 * (seconds - old)

    # -- what is in the journal ---------------------------------------------------------------------

    def _committed(self, stimulus: told.Committed, _now: float) -> None:
        self._uncommitted -= stimulus.asked
        self.counts[ExecutionStatus.COMPLETED] += stimulus.completed
        self.counts[ExecutionStatus.FAILED] += stimulus.failed
        self.counts[ExecutionStatus.INTERRUPTED] += stimulus.interrupted

    def _journal_failed(self, stimulus: told.JournalFailed, now: float) -> None:
        self._journal_broken = True
        self.error = self.error or stimulus.why
        self._log("journal.failed", Severity.ERROR, error=stimulus.why)
        self._stop(
            InterruptSignal(reason=InterruptReason.RESOURCE_LIMIT, message=stimulus.why, triggered_by="journal"), now
        )

    # -- stopping -----------------------------------------------------------------------------------

    def _signalled(self, stimulus: told.Signalled, now: float) -> None:
        if self._pressed_at is not None and now - self._pressed_at < DEBOUNCE:
            return
        self._pressed_at = now
        if self.phase is Phase.RUNNING:
            reason = InterruptReason.USER_CANCELLED if stimulus.user else InterruptReason.SYSTEM_SHUTDOWN
            self._stop(
                InterruptSignal(
                    reason=reason, message=f"received {stimulus.name}", triggered_by=f"signal:{stimulus.name}"
                ),
                now,
            )
        else:
            self._log("interrupt.hurried", Severity.WARNING, triggered_by=f"signal:{stimulus.name}")
            self._climb_on(now)

    def _interrupt(self, stimulus: told.Interrupt, now: float) -> None:
        if stimulus.task is None:
            self._stop(stimulus.signal, now)
            return
        for slot in self.slots:
            for one in slot.assigned.values():
                if one.task.key == stimulus.task:
                    self._ask(slot, one, stimulus.signal, now)
                    return
        self._log("interrupt.ignored", Severity.WARNING, key=stimulus.task, why="no executor has this task")

    def _fail(self, why: str, now: float) -> None:
        self.error = self.error or why
        self._stop(InterruptSignal(reason=InterruptReason.ERROR_THRESHOLD, message=why, triggered_by="supervisor"), now)

    def _stop(self, signal: InterruptSignal, now: float) -> None:
        """The first signal wins. The flag goes up at once; the rest of the ladder follows by the clock."""
        if self.phase is not Phase.RUNNING:  # also FINISHING: what is complete is not interrupted any more
            return
        self.signal = signal
        self.phase = Phase.STOPPING
        self._stopped_at = now
        self._ends_at = None
        self._do(RaiseFlag(signal))
        self._log(
            "interrupt.requested", Severity.WARNING, reason=signal.reason.value, message=signal.message,
            triggered_by=signal.triggered_by, executors=sum(slot.is_alive for slot in self.slots),
            running=self.outstanding, grace=self.settings.grace, term_grace=self.settings.term_grace,
        )  # fmt: skip
        self._climb = Climb(self.settings.ladder)
        self._climb_on(now)

    def _climb_on(self, now: float) -> None:
        """The next rung, for everybody who is left."""
        self._climb = self._climb.next(now)
        left = [slot for slot in self.slots if slot.is_alive]
        if left:
            self._log(
                "ladder.rung", Severity.INFO if self._climb.rung is Rung.FLAG else Severity.WARNING,
                rung=self._climb.rung.name, executors=[slot.number for slot in left],
                pids=[slot.pid for slot in left], seconds=self.settings.ladder.seconds(self._climb.rung),
            )  # fmt: skip
        self._do(ShowRung(self._climb.due))
        for slot in left:
            self._push(slot, self._climb.rung)

    def _push(self, slot: Slot, rung: Rung) -> None:
        if rung is Rung.TERM:
            self._do(Terminate(slot.number, slot.incarnation))
        elif rung is Rung.KILL:
            self._do(KillTree(slot.number, slot.incarnation))
        elif rung is Rung.ABANDONED:
            self.remaining = (*self.remaining, f"executor {slot.number} (pid {slot.pid})")
            for one in slot.vacate():
                if one.since is not None:
                    self._outcomes.append(
                        outcome_of(one, slot, None, ExecutionStatus.INTERRUPTED, "unkillable", self.signal)
                    )

    def _ask(self, slot: Slot, one: Assigned, signal: InterruptSignal, now: float) -> None:
        """Interrupt one task; if it does not end, its executor goes down the ladder."""
        if one.asked is not None:
            return
        one.asked = signal
        slot.climb = slot.climb or Climb(self.settings.ladder, Rung.FLAG, now)
        self._log(
            "task.interrupting", Severity.WARNING, key=one.task.key, reason=signal.reason.value, message=signal.message,
            slot=slot.number, pid=slot.pid,
        )  # fmt: skip
        self._do(SendControl(slot.number, wire.Interrupt(one.task.seq, signal.model_dump_json().encode())))

    # -- time ---------------------------------------------------------------------------------------

    def _progress(self, stimulus: told.Progress, now: float) -> None:
        for slot, (task, since, _beat) in zip(self.slots, stimulus.slots, strict=True):
            one = slot.assigned.get(task)
            if one is not None:
                one.since = since
        timeout = self.settings.timeout
        if timeout is None or self.phase is not Phase.RUNNING:
            return
        for slot in self.slots:
            for one in list(slot.assigned.values()):
                if one.since is not None and now - one.since >= timeout:
                    message = f"the task took longer than {timeout:g} s"
                    self._ask(
                        slot, one,
                        InterruptSignal(reason=InterruptReason.TIMEOUT, message=message, triggered_by="timeout"), now,
                    )  # fmt: skip

    def _tick(self, _: told.Tick, now: float) -> None:
        if self._ends_at is not None and now >= self._ends_at:
            message = f"the run's deadline of {self.settings.deadline:g} s is over"
            self._stop(InterruptSignal(reason=InterruptReason.TIMEOUT, message=message, triggered_by="deadline"), now)
        while (due := self._climb.due) is not None and due <= now:
            self._climb_on(now)
        for slot in self.slots:
            self._tick_slot(slot, now)
        if self.phase is Phase.RUNNING:
            self.backlog.wake(now)
            self._revoke(now)

    def _tick_slot(self, slot: Slot, now: float) -> None:
        """One executor's own climb, when a task of it was told to end and did not."""
        if slot.climb is None or self.signal is not None:
            return
        due = slot.climb.due
        if due is not None and due <= now:
            slot.climb = slot.climb.next(now)
            self._log(
                "ladder.rung", Severity.WARNING, rung=slot.climb.rung.name, executors=[slot.number], pids=[slot.pid],
                seconds=self.settings.ladder.seconds(slot.climb.rung),
            )  # fmt: skip
            self._push(slot, slot.climb.rung)

    def _hoarders(self) -> list[Slot]:
        return [slot for slot in self.slots if len(slot.assigned) > 1 and not slot.revoking and not slot.alone]

    def _hoarders_due(self) -> list[float]:
        """When tasks that wait behind a long one may be taken back for an idle executor."""
        if len(self.backlog) or not any(self._is_idle(slot) for slot in self.slots):
            return []
        return [slot.heard_at + IDLE_BEFORE_REVOKE for slot in self._hoarders() if self._can_share(slot)]

    def _can_share(self, slot: Slot) -> bool:
        return sum(one.since is None for one in slot.assigned.values()) > 1 or len(slot.assigned) > self._width()

    def _revoke(self, now: float) -> None:
        if len(self.backlog) or not any(self._is_idle(slot) for slot in self.slots):
            return
        for slot in self._hoarders():
            if self._can_share(slot) and slot.heard_at + IDLE_BEFORE_REVOKE <= now:
                slot.revoking = True
                self._do(SendControl(slot.number, wire.Revoke(max(1, len(slot.assigned) // 2))))

    # -- going on -----------------------------------------------------------------------------------

    def _go_on(self, now: float) -> None:
        """After every stimulus: start, fetch, hand out; or end, step by step."""
        if self.phase is Phase.RUNNING:
            self._fill_slots(now)
            request = self.backlog.fetch()
            if request is not None:
                self._do(Fetch(*request))
            if len(self.backlog):
                self._hand_out()
            elif self._sealed and self.backlog.is_exhausted and not self.outstanding:
                self._finish(now)
        ending = self.phase in (Phase.STOPPING, Phase.FINISHING) and not any(slot.is_alive for slot in self.slots)
        if ending and (not self._uncommitted or self._journal_broken):
            self.phase = Phase.SWEEPING
            self._do(SweepProcesses())

    def _fill_slots(self, now: float) -> None:
        if self._sealed and self.backlog.is_exhausted and not self.outstanding:
            return
        for slot in self.slots:
            if slot.state is SlotState.EMPTY and slot.restart_at <= now:
                self._start(slot, now)

    def _finish(self, now: float) -> None:
        """All is done: every executor may go; the ladder is for those that do not."""
        self.phase = Phase.FINISHING
        self._ends_at = None
        self._climb = Climb(self.settings.ladder, Rung.FLAG, now)
        for slot in self.slots:
            if slot.state in (SlotState.READY, SlotState.STARTING):
                self._do(Send(slot.number, wire.Retire()))

    def _is_idle(self, slot: Slot) -> bool:
        return slot.state is SlotState.READY and not slot.assigned

    def _width(self) -> int:
        """How many tasks an executor executes at once."""
        asynchronous = any(known.asynchronous for known in self._known.values())
        return self.settings.concurrency if asynchronous else 1

    def _hand_out(self) -> None:
        width = self._width()
        ahead = 0 if self._task_seconds is None else min(MAX_WINDOW, int(PREFETCH / max(1e-6, self._task_seconds)))
        for slot in self.slots:
            if slot.state is not SlotState.READY or slot.alone or slot.climb is not None:
                continue
            suspect = None if slot.assigned else self.backlog.take_suspect()
            if suspect is not None:
                slot.alone = True
                self._assign(slot, [suspect])
                continue
            window = min(width + ahead, max(width, slot.window))
            if len(slot.assigned) <= window // 2 or (width > 1 and len(slot.assigned) < width):
                slot.window = min(2 * window, width + MAX_WINDOW)
                self._assign(slot, self.backlog.take(window - len(slot.assigned)))

    def _assign(self, slot: Slot, tasks: list[PendingTask]) -> None:
        if not tasks:
            return
        orders = []
        for task in tasks:
            attempt = task.attempts + 1
            slot.assigned[task.seq] = Assigned(task, attempt)
            orders.append(
                wire.Task(
                    task.seq, task.key, task.agent, attempt, task.input, task.encoding, task.snapshot,
                    task.snapshot_encoding,
                )
            )  # fmt: skip
        self._do(Send(slot.number, wire.Tasks(orders)))

    def _swept(self, stimulus: told.Swept, now: float) -> None:
        if self.phase is Phase.ENDED:
            return
        self.phase = Phase.ENDED
        self.remaining = (*self.remaining, *stimulus.remaining)
        seconds = {"seconds": round(now - self._stopped_at, 3)} if self.signal is not None else {}
        self._log(
            "cleanup.verified", Severity.ERROR if self.remaining else Severity.INFO,
            found=stimulus.found + self._cleaned, ended=stimulus.ended + self._cleaned, remaining=list(self.remaining), **seconds,
        )  # fmt: skip
        self._do(Finish())

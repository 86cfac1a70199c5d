"""What becomes of tasks: done, failed, again, whose fault. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator import stimuli as told
from orchestrator.instructions import RecordAttempts
from orchestrator.ladder import Climb, Rung
from orchestrator.mind import Mind
from orchestrator.settle import Verdict, backoff, crash, ended_by, judge, outcome_of
from orchestrator.slots import Assigned, Slot, SlotState
from orchestrator.stopping import Stopping
from runtime import wire
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal, Severity

STRAY_LIMIT = 10
"""How often a task may be ended by a SIGTERM to its executor that is none of ours before it is taken for its sender."""

FIRST_RETRY, MAX_RETRY = 0.2, 30.0
"""Seconds before a failed task is tried again; doubled each time, up to the maximum."""

SLOW_TO_NOTICE = 1.0
"""Seconds between an interrupt and the end of its task from which on that is worth a line in the log."""


class Ledger:
    """A task is with one executor at most, and an outcome that is final is recorded once."""

    def __init__(self, mind: Mind, stopping: Stopping) -> None:
        self._mind = mind
        self._stopping = stopping
        self.task_seconds: float | None = None

    # -- what executors say -------------------------------------------------------------------------

    def started(self, slot: Slot, record: wire.Started, now: float) -> None:
        """An async task began."""
        if record.task in slot.assigned:
            slot.assigned[record.task].since = now

    def snapshot(self, slot: Slot, record: wire.Snapshot, _now: float) -> None:
        """A task saved its progress: it is handed back if the task runs again."""
        one = slot.assigned.get(record.task)
        if one is not None:
            one.task = replace(one.task, snapshot=record.data, snapshot_encoding=record.encoding)

    def returned(self, slot: Slot, record: wire.Returned, now: float) -> None:
        """Tasks that had not begun come back; those of an agent that nobody can load have failed."""
        slot.revoking = not record.tasks  # who had nothing to give back is not asked again before its next task ends
        back: list[Assigned] = []
        for one in [slot.assigned.pop(task) for task in record.tasks if task in slot.assigned]:
            why = None if one.task.agent in self._mind.hired else self._mind.refusals.get(one.task.agent)
            if why is None:
                back.append(one)
            else:
                self._record(one, slot, ExecutionStatus.FAILED, why, now)
        self._calm(slot)
        slot.alone = slot.alone and bool(slot.assigned)
        self._stopping.give_back(back[::-1])

    def done(self, slot: Slot, record: wire.Done, now: float) -> None:
        """A task ended. Raises ValueError, having done nothing, for a signal that is none."""
        signal = _signal_of(record)
        one = slot.assigned.pop(record.task, None)
        if one is None:
            return
        slot.alone = slot.revoking = False
        slot.executed += 1
        if one.asked is not None:
            self._calm(slot)
        self._notice_slow(slot.number, one, now)
        if record.status == ExecutionStatus.COMPLETED:
            self._average(record.seconds)
            self._mind.keep(outcome_of(one, slot, record, ExecutionStatus.COMPLETED))
        elif record.status == ExecutionStatus.INTERRUPTED:
            verdict = judge(one, signal or one.asked, stopping=self._mind.signal is not None)
            self._settle(one, verdict, slot, record.error, now, record)
        else:
            self._average(record.seconds)
            self._settle(one, Verdict.FAILED, slot, record.error, now, record)

    def _calm(self, slot: Slot) -> None:
        """A task that was told to end is gone: the ladder is for those that are left, from when they were told."""
        if slot.state is not SlotState.READY or slot.killed or slot.climb is None or slot.why is not None:
            return
        asked = [(it.asked_at, it.task.agent) for it in slot.assigned.values() if it.asked is not None]
        if not asked:
            slot.climb = None
            return
        since, agent = min(asked)
        if since > slot.climb.since or slot.climb.rung is not Rung.FLAG:
            slot.climb = Climb(self._mind.ladder_of(agent), Rung.FLAG, since)

    def _notice_slow(self, slot: int, one: Assigned, now: float) -> None:
        """A task that went long without a checkpoint is found out now, and not when it is too late.

        Also one that was completed all the same, or whose executor had to be killed.
        """
        asked_at = one.asked_at or self._stopping.began_at
        if asked_at and now - asked_at >= SLOW_TO_NOTICE:
            self._mind.log(
                "task.slow_to_stop",
                Severity.WARNING,
                key=one.task.key,
                slot=slot,
                seconds=round(now - asked_at, 2),
                cure="call state.raise_if_interrupted() more often",
            )

    def _average(self, seconds: float) -> None:
        old = self.task_seconds
        self.task_seconds = seconds if old is None else old + 0.1 * (seconds - old)

    # -- an executor died ---------------------------------------------------------------------------

    def charge(
        self,
        left: list[Assigned],
        exited: told.Exited,
        why: str | None,
        climb: Climb | None,
        now: float,
        *,
        distrusted: bool = False,
    ) -> None:
        """Whose fault was it? That task pays an attempt; the others did not begin, or are innocent.

        Of a `distrusted` executor nobody knows which tasks have ended: one whose record was lost in the garbage may
        be the one that wrote it, so each is suspected, or the same garbage would come again for ever.
        """
        backlog = self._mind.backlog
        begun = [one for one in left if one.has_begun(exited.in_hand)]
        asked = [one for one in left if one.asked is not None]
        if self._mind.signal is not None:
            for one in begun:
                self._notice_slow(exited.slot, one, now)
                error = ended_by(exited.how, one.asked or self._mind.signal)
                self._record(one, exited, ExecutionStatus.INTERRUPTED, error, now)
        elif climb is not None and asked:
            for one in (one for one in begun if one.asked is not None):
                self._notice_slow(exited.slot, one, now)
                error = ended_by(exited.how, one.asked)
                self._settle(one, judge(one, one.asked, stopping=False), exited, error, now)
            backlog.put_back([one.task for one in begun if one.asked is None])
        elif exited.with_guardian and not any(one.sole for one in begun):
            self._stopping.give_back([one for one in left if one not in begun])
            self._lost_together(begun)
            return
        elif len(begun := left if distrusted else begun) == 1:
            self._crashed(begun[0], exited, why, now)
        else:
            backlog.suspect([one.task for one in begun])
        self._stopping.give_back([one for one in left if one not in begun])

    def _lost_together(self, begun: list[Assigned]) -> None:
        """All executors died at once, with the guardian: nobody pays. Where it comes again, each runs by itself."""
        backlog, again = self._mind.backlog, []
        for one in begun:
            if backlog.crashed(one.task.seq) < self._mind.settings.crash_limit:
                again.append(one.task)
            else:
                backlog.isolate(one.task)
        backlog.put_back(again)

    def _crashed(self, one: Assigned, exited: told.Exited, why: str | None, now: float) -> None:
        crashes = self._mind.backlog.crashed(one.task.seq)
        text = crash(exited.how, why)
        self._mind.log(
            "task.crashed", Severity.WARNING, key=one.task.key, attempt=one.attempt, crashes=crashes, error=text
        )
        limit, before = self._mind.settings.crash_limit, one.attempt - self._mind.retries_of(one.task.agent)
        if max(crashes, before) >= limit:  # what its retries cannot explain were crashes, at an earlier start
            self._record(one, exited, ExecutionStatus.FAILED, f"{text} ({max(crashes, before)} times)", now)
        else:
            self._again(one, now)

    # -- verdicts -----------------------------------------------------------------------------------

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
            self._run_again(one, where, error, now, record)
        elif verdict is Verdict.INTERRUPTED or one.requested:
            self._record(one, where, ExecutionStatus.INTERRUPTED, error, now, record)
        elif one.attempt <= self._mind.retries_of(one.task.agent):  # while the run stops, too: then at the next start
            self._mind.log("task.retrying", Severity.WARNING, key=one.task.key, attempt=one.attempt, error=error)
            self._again(one, now + backoff(FIRST_RETRY, one.attempt - 1, MAX_RETRY))
        else:
            self._record(one, where, ExecutionStatus.FAILED, error, now, record)

    def _run_again(
        self, one: Assigned, where: Slot | told.Exited, error: str | None, now: float, record: wire.Done | None
    ) -> None:
        """It made room for another, or somebody sent its executor SIGTERM: that costs nothing, unless it did so itself.

        Where that comes again and again, it runs alone, so that it is known whose doing it is.
        """
        backlog = self._mind.backlog
        if one.asked is not None or backlog.strayed(one.task.seq) < STRAY_LIMIT:
            backlog.put_back([one.task])
        elif one.alone or self._mind.width == 1:
            why = f"{error} ({STRAY_LIMIT} times: the task seems to send it itself)"
            self._record(one, where, ExecutionStatus.FAILED, why, now, record)
        else:
            backlog.suspect([one.task])

    def _again(self, one: Assigned, at: float) -> None:
        """Run a task again; the attempt that it has used is kept in the journal too."""
        self._mind.do(RecordAttempts({one.task.seq: one.attempt}))
        self._mind.backlog.retry(replace(one.task, attempts=one.attempt), at)

    def _record(
        self,
        one: Assigned,
        where: Slot | told.Exited,
        status: ExecutionStatus,
        error: str | None,
        now: float,
        record: wire.Done | None = None,
    ) -> None:
        mind = self._mind
        signal = one.asked or (None if record is None else _signal_of(record))
        if signal is None and status is ExecutionStatus.INTERRUPTED:
            signal = mind.signal
        mind.keep(outcome_of(one, where, record, status, error, signal))
        limit, failures = mind.settings.max_failures, mind.failures
        ended = failures + mind.ended[ExecutionStatus.COMPLETED]
        if status is ExecutionStatus.FAILED and limit is not None and limit.is_exceeded(failures, ended):
            self._stopping.stop(
                InterruptSignal(
                    reason=InterruptReason.ERROR_THRESHOLD,
                    message=f"{failures} tasks failed",
                    triggered_by="max-failures",
                ),
                now,
            )

    def committed(self, stimulus: told.Committed) -> None:
        """Outcomes are in the journal: now they count."""
        counts = self._mind.counts
        self._mind.uncommitted -= stimulus.asked
        counts[ExecutionStatus.COMPLETED] += stimulus.completed
        counts[ExecutionStatus.FAILED] += stimulus.failed
        counts[ExecutionStatus.INTERRUPTED] += stimulus.interrupted


def _signal_of(record: wire.Done) -> InterruptSignal | None:
    """What interrupted it, as it says: the run's signal, or one of its own (a time limit, a checker)."""
    return InterruptSignal.model_validate_json(record.signal) if record.signal else None

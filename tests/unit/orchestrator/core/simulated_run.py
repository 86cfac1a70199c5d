"""A make-believe world for the machine: it answers instructions as the engine would, and keeps the books.

Every rule of machine.py is checked at every step, whatever the order of events. Time is a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from orchestrator.config import Settings
from orchestrator.core import instructions
from orchestrator.core import stimuli as told
from orchestrator.core.machine import SupervisorStateMachine
from orchestrator.core.records import TERMINAL, NewTask, PendingTask, TaskOutcome
from orchestrator.core.verdicts import UNKILLABLE
from runtime.ipc import executor_protocol, frames, guardian_protocol
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal

STOP = InterruptSignal(reason=InterruptReason.CUSTOM, message="enough", triggered_by="test")


class Executor:
    """What a simulated process has in hand."""

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.ready = False
        self.tasks: list[int] = []
        self.hires: list[int] = []
        self.retiring = False
        self.killed = False
        self.terms_due = 0
        self.at = (0, 0.0)
        self.asked: list[int] = []
        self.held: set[int] = set()
        self.revoked = 0


class SimulatedRun:
    """Slots, store and clock around one machine. `fresh`: its tasks are new, and not those of a run that is resumed."""

    def __init__(self, tasks: int, *, fresh: bool = False, **settings: Any) -> None:
        self.settings = Settings.from_options(
            **{"workers": 2, "grace": 1.0, "term_grace": 1.0, "kill_patience": 1.0, **settings}
        )
        self.machine = SupervisorStateMachine(self.settings)
        self.given: list[list[instructions.Instruction]] = []
        self.now = 1000.0
        self.executors: dict[int, Executor] = {}
        self.fresh = fresh
        self.pending = {seq: PendingTask(seq, f"k{seq}", b"1") for seq in range(1, tasks + 1)}
        self.outcomes: dict[int, list[TaskOutcome]] = {}
        self.fetches: list[instructions.FetchTasks] = []
        self.records: list[instructions.CommitOutcomes] = []
        self.logs: list[instructions.EmitLog] = []
        self.controls: list[tuple[int, executor_protocol.Control]] = []
        self.sweeps = 0
        self.swept = 0
        self.sweep_until = 0.0
        self.flags: list[InterruptSignal] = []
        self.terminated: list[int] = []
        self.killed: list[int] = []
        self.attempts: dict[int, int] = {}
        self.finished = False

    # -- telling the machine ------------------------------------------------------------------------

    def tell(self, stimulus: told.Stimulus) -> list[instructions.Instruction]:
        """Feed, and carry out what is said."""
        out = self.machine.handle(stimulus, self.now)
        self.given.append(out)
        for instruction in out:
            self._perform(instruction)
        return out

    def begin(self, *, asynchronous: bool = False) -> None:
        """Everything up to the first task, with the answers of a healthy world."""
        self.asynchronous = asynchronous
        self.tell(told.RunStarted())
        self.tell(told.AgentAdded(0, by_name=True, source=b"m:f"))
        if self.fresh:
            self.tell(told.TasksAdded(0, len(self.pending), [NewTask(f"k{seq}", b"1") for seq in self.pending]))
        elif self.pending:
            self.tell(told.RunResumed(max(self.pending), len(self.pending), 0, 0))
        self.tell(told.InputClosed())

    def tick(self, seconds: float) -> None:
        """Let time pass, with a Tick wherever the machine wants one."""
        end = self.now + seconds
        ticks = 0
        while (due := self.machine.due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.tell(told.TimerFired())
            ticks += 1
            assert ticks < 1000, f"the machine spins: it is always due at {due}"
        self.now = end

    def hear(self, slot: int, *records: executor_protocol.ExecutorRecord) -> None:
        """A record of an executor. Who says Bye has a while to be gone."""
        if any(isinstance(record, executor_protocol.Leaving) for record in records):
            self._give_reason(slot)
        self.tell(told.RecordsReceived(slot, self.executors[slot].incarnation, records))

    # -- what executors do --------------------------------------------------------------------------

    def come_up(self, slot: int) -> None:
        """Ready, and all agents loaded."""
        executor = self.executors[slot]
        if not executor.ready:
            executor.ready = True
            self.hear(slot, executor_protocol.Ready(frames.VERSION, 100 + slot))
        self.load(slot)

    def load(self, slot: int) -> None:
        """Answer every Hire."""
        executor = self.executors[slot]
        while executor.hires:
            agent = executor.hires.pop(0)
            self.hear(slot, executor_protocol.AgentLoaded(agent, "m:f", asynchronous=self.asynchronous, options=b"{}"))

    def end_task(self, slot: int, status: str, which: int = 0, signal: InterruptSignal | None = None) -> None:
        """One of its tasks ends."""
        task = self.executors[slot].tasks.pop(which)
        encoded = None if signal is None else signal.model_dump_json().encode()
        value = b"1" if status == "completed" else None
        error = None if status == "completed" else "E: no"
        self.hear(slot, executor_protocol.TaskDone(task, status, value, "json", error, None, 0.0, 1.0, encoded))

    def end_with_threads(self, slot: int, status: str, which: int = 0, signal: InterruptSignal | None = None) -> int:
        """One of its tasks ends, and threads of it run on. Returns the task, which stays in its hands."""
        executor = self.executors[slot]
        task = executor.tasks.pop(which)
        executor.held.add(task)
        encoded = None if signal is None else signal.model_dump_json().encode()
        done = executor_protocol.TaskDone(task, status, None, "json", "E: no", None, 0.0, 1.0, encoded)
        self._give_reason(slot)
        self.hear(slot, executor_protocol.ThreadsLeft(task, ["tool"], "stack"), done)
        return task

    def end_threads(self, slot: int) -> None:
        """They have ended."""
        executor = self.executors[slot]
        held, executor.held = executor.held, set()
        for task in held:
            self.hear(slot, executor_protocol.ThreadsEnded(task))

    def give_back(self, slot: int, count: int) -> None:
        """Return what has not begun."""
        executor = self.executors[slot]
        count = min(count, max(0, len(executor.tasks) - 1))
        back = [executor.tasks.pop() for _ in range(count)]
        self.hear(slot, executor_protocol.TasksReturned(back))

    def die(self, slot: int, code: int = -9, *, in_hand: int | None = None, oom: bool = False) -> None:
        """The process is gone; with what shared memory says it had in hand (default: its first task).

        `oom`: the kernel killed it for want of memory.
        """
        executor = self.executors.pop(slot)
        first = executor.tasks[0] if executor.tasks and executor.ready and not executor.hires else 0
        hand = first if in_hand is None else in_hand
        exited = told.ExecutorExited(slot, executor.incarnation, 100, code, 1.0, 0, hand, f"exit code {code}")
        if oom:
            exited = replace(exited, max_rss=512 << 20, is_out_of_memory=True, available_memory=1 << 30)
        self.tell(exited)

    def leave(self, slot: int) -> None:
        """In good order: what is left is given back, Bye, exit code 0."""
        executor = self.executors[slot]
        back, executor.tasks = executor.tasks, []
        records: list[executor_protocol.ExecutorRecord] = [executor_protocol.TasksReturned(back)] if back else []
        self.hear(slot, *records, executor_protocol.Leaving())
        self.die(slot, 0)

    def look(self, beat: float) -> None:
        """Shared memory: every executor runs its first task since now (or since it was seen first), and is alive."""
        seen = []
        for slot in range(self.settings.workers):
            executor = self.executors.get(slot)
            task = executor.tasks[0] if executor is not None and executor.tasks and executor.ready else 0
            if executor is not None and executor.at[0] != task:
                executor.at = (task, self.now)
            seen.append((task, executor.at[1] if executor is not None else 0.0, beat))
        self.tell(told.ProgressSampled(seen))

    # -- what the store does ------------------------------------------------------------------------

    def answer_fetch(self) -> None:
        """The oldest fetch."""
        fetch = self.fetches.pop(0)
        found = [task for seq, task in self.pending.items() if fetch.after < seq <= fetch.to][: fetch.limit]
        read_to = found[-1].seq if found else fetch.to
        self.tell(told.TasksFetched(found, read_to, urgent=fetch.urgent))

    def answer_commit(self) -> None:
        """The oldest commit."""
        record = self.records.pop(0)
        statuses = [outcome.status for outcome in record.outcomes]
        self.tell(
            told.OutcomesCommitted(
                len(statuses),
                statuses.count(ExecutionStatus.COMPLETED),
                statuses.count(ExecutionStatus.FAILED),
                statuses.count(ExecutionStatus.INTERRUPTED),
            )
        )

    def answer_sweep(self) -> None:
        """The guardian's last word."""
        self.sweeps -= 1
        self.tell(guardian_protocol.SweepReport(0, 0, []))

    # -- the rules ----------------------------------------------------------------------------------

    def _perform(self, it: instructions.Instruction) -> None:
        assert not self.finished, f"{it} after Finish"
        performers: dict[type[Any], Callable[[Any], object]] = {
            instructions.StartExecutor: self._start,
            instructions.SendOrder: lambda it: self._send(it.slot, it.order),
            instructions.SendControl: lambda it: self._control(it.slot, it.order),
            instructions.RaiseFlag: self._raise,
            instructions.TerminateExecutor: self._terminate,
            instructions.KillExecutor: self._kill,
            instructions.FetchTasks: self.fetches.append,
            instructions.CommitOutcomes: self._record,
            instructions.CommitAttempts: lambda it: self.attempts.update(it.attempts),
            instructions.SweepProcesses: self._sweep,
            instructions.SweepWithoutGuardian: lambda _: self._sweep_alone(),
            instructions.EmitLog: self._log,
            instructions.StopLoop: lambda _: self._finish(),
        }
        performers.get(type(it), lambda _: None)(it)

    def _start(self, it: instructions.StartExecutor) -> None:
        assert not self.flags, "an executor was started after the interrupt"
        before = self.executors.get(it.slot)
        assert before is None or before.killed, "two executors in one slot"  # unless not even SIGKILL ended it
        self.executors[it.slot] = Executor(it.incarnation)

    def _raise(self, it: instructions.RaiseFlag) -> None:
        assert not self.flags, "the flag was raised twice"
        self.flags.append(it.signal)
        self._give_reason(*self.executors)

    def _give_reason(self, *slots: int) -> None:
        """An executor was interrupted: from now on one SIGTERM may come for it."""
        for slot in slots:
            if slot in self.executors:
                self.executors[slot].terms_due += 1

    def _terminate(self, it: instructions.TerminateExecutor) -> None:
        self.terminated.append(it.slot)
        executor = self._in(it.slot, it.incarnation)
        assert not executor.killed, f"SIGTERM to {it.slot}, which was killed"
        assert executor.terms_due, f"SIGTERM to {it.slot} twice for one reason"
        executor.terms_due -= 1

    def _kill(self, it: instructions.KillExecutor) -> None:
        self.killed.append(it.slot)
        executor = self._in(it.slot, it.incarnation)
        assert not executor.killed, f"{it.slot} was killed twice"
        executor.killed = True

    def _in(self, slot: int, incarnation: int) -> Executor:
        executor = self.executors.get(slot)
        assert executor is not None, f"no executor is in {slot}"
        assert executor.incarnation == incarnation, f"{slot} holds {executor.incarnation}, not {incarnation}"
        return executor

    def _sweep(self, it: instructions.SweepProcesses) -> None:
        self.sweep_until = it.until
        self.swept += 1
        assert self.swept == 1, "swept twice"
        self.sweeps = 1

    def _sweep_alone(self) -> None:
        assert self.swept == 1, "the guardian was given up before it was asked"
        self.swept += 1

    def _finish(self) -> None:
        self.finished = True

    def _send(self, slot: int, order: executor_protocol.TaskOrder) -> None:
        executor = self.executors.get(slot)
        assert executor is not None, f"{order} to an empty slot"
        if isinstance(order, executor_protocol.LoadAgent):
            assert order.agent not in executor.hires, "an agent was loaded twice"
            executor.hires.append(order.agent)
        elif isinstance(order, executor_protocol.Drop):
            assert not executor.retiring, f"{order} to an executor that was retired"
        elif isinstance(order, executor_protocol.FinishAndExit):
            assert not executor.retiring, f"{slot} was retired twice"
            executor.retiring = True
            executor.terms_due += 1
        else:
            assert not self.flags, "a task was handed out after the interrupt"
            for task in order.tasks:
                holders = [
                    number
                    for number, each in self.executors.items()
                    if task.task in each.tasks or task.task in each.held
                ]  # fmt: skip
                assert not holders, f"task {task.task} went to {slot}, and {holders} have it"
                final = [each for each in self.outcomes.get(task.task, []) if each.status in TERMINAL]
                assert not final, f"task {task.task} was handed out after it had ended"
                executor.tasks.append(task.task)

    def _control(self, slot: int, order: executor_protocol.Control) -> None:
        self.controls.append((slot, order))
        executor = self.executors.get(slot)
        if executor is not None and isinstance(order, executor_protocol.Interrupt):
            assert order.task not in executor.asked, f"task {order.task} was interrupted twice"
            executor.asked.append(order.task)
            executor.terms_due += 1
        elif executor is not None and isinstance(order, executor_protocol.ReturnTasks):
            executor.revoked = order.count

    def _log(self, it: instructions.EmitLog) -> None:
        told = [(log.fields["slot"], log.fields["incarnation"]) for log in self.named("executor.protocol_error")]
        assert len(told) == len(set(told)), "one executor was distrusted twice"
        self.logs.append(it)
        if it.name == "executor.heartbeat_lost":
            self._give_reason(it.fields["slot"])

    def _record(self, it: instructions.CommitOutcomes) -> None:
        self.records.append(it)
        for outcome in it.outcomes:
            at_work = [number for number, each in self.executors.items() if outcome.seq in each.held]
            assert not at_work or UNKILLABLE in (outcome.error or ""), (
                f"{outcome.seq} is over, and its threads run in {at_work}"
            )
            known = self.outcomes.setdefault(outcome.seq, [])
            assert not any(each.status in TERMINAL for each in known), f"task {outcome.seq} ended twice"
            assert len(known) == 0 or not self.flags or known[-1].status is not ExecutionStatus.INTERRUPTED
            known.append(outcome)

    def named(self, name: str) -> list[instructions.EmitLog]:
        """The log events of one name."""
        return [log for log in self.logs if log.name == name]

    def status(self, seq: int) -> str | None:
        """How a task stands."""
        known = self.outcomes.get(seq)
        return str(known[-1].status) if known else None

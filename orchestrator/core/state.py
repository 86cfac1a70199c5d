"""What the parts of the machine share: its memory, and the list of what is to be done. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.core.agent_needs import AgentNeeds
from orchestrator.core.instructions import CommitOutcomes, EmitLog, Instruction
from orchestrator.core.ladder import Escalation, Ladder
from orchestrator.core.records import TaskOutcome
from orchestrator.core.settings import LONGEST_TIMEOUT_GRACE, RunSettings
from orchestrator.core.slots import Slot
from orchestrator.core.status import Phase, StatusView
from orchestrator.core.stop_budget import FittedLadder
from orchestrator.core.task_queue import TaskQueue
from runtime.agents import AgentOptions
from runtime.ipc.executor_protocol import AgentLoaded, LoadAgent
from runtime.statuses import ExecutionStatus, Severity

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


class SupervisorState:
    """Hold what the parts of the state machine share. Each part writes only what its own file is about."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.phase = Phase.RUNNING
        self.slots = [Slot(number) for number in range(settings.workers)]
        self.queue = TaskQueue()
        self.agents: dict[int, LoadAgent] = {}
        self.needs = AgentNeeds(self.agents)
        self.loaded_agents: dict[int, AgentLoaded] = {}
        self.concurrency_per_executor = 1
        self.load_errors: dict[int, str] = {}
        self.options: dict[int, AgentOptions] = {}
        self.sealed = False
        self.accepted = 0
        self.counts = dict.fromkeys(ExecutionStatus, 0)
        self.uncommitted = 0
        self.retried = 0
        self.ended = {ExecutionStatus.COMPLETED: 0, ExecutionStatus.FAILED: 0}
        self.journal_broken = False
        self.journal_contended = False
        self.journal_deadline: float | None = None
        self.hurried = False
        self.signal: InterruptSignal | None = None
        self.error: str | None = None
        self.escalation = Escalation(settings.ladder)
        self.paused_by: str | None = None
        """Why no task is dispatched although the run goes on."""
        self.to_abandon: list[Slot] = []
        """Slots whose executor is still there at the end of its ladder."""
        self.remaining: Sequence[str] = ()
        self._out: list[Instruction] = []
        self._outcomes: list[TaskOutcome] = []

    @property
    def outstanding(self) -> int:
        """Return the number of tasks that executors were sent and that have not ended."""
        return sum(len(slot.assigned) for slot in self.slots)

    @property
    def running(self) -> int:
        """Return the number of tasks that executors execute; the others were sent in advance."""
        return sum(min(len(slot.assigned), self.concurrency_per_executor) for slot in self.slots)

    def is_executing(self, key: str) -> bool:
        """Return whether an executor executes the task of this key. Any thread may ask: the answer may be old."""
        count = self.concurrency_per_executor
        return any(
            assigned.task.key == key for slot in self.slots for assigned in tuple(slot.assigned.values())[:count]
        )

    @property
    def alive(self) -> list[Slot]:
        """Return the slots with a process in them."""
        return [slot for slot in self.slots if slot.is_alive]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to execute and nothing more will come."""
        return self.sealed and self.queue.is_exhausted and not self.outstanding

    def record_agent_loaded(self, record: AgentLoaded, options: AgentOptions) -> None:
        """Register an agent that the first executor has loaded, and with it how many tasks each executes at once."""
        self.loaded_agents[record.agent] = record
        self.options[record.agent] = options
        if record.asynchronous:
            self.concurrency_per_executor = self.settings.concurrency

    @property
    def ladder(self) -> Ladder:
        """Return the run's ladder, with the longest graces that an agent asks for."""
        return self._ladder(list(self.options))

    @property
    def wanted_ladder(self) -> Ladder:
        """Return the run's ladder as it was asked for, with the longest graces that an agent asks for."""
        return self._fit(list(self.options)).wanted

    def ladder_for_agent(self, agent: int) -> Ladder:
        """Return the ladder of one executor, a task of which is to end."""
        return self._ladder([agent]).for_executor

    def ladder_for_timeout(self, agent: int) -> Ladder:
        """Return the ladder of one executor, a task of which is over its timeout.

        The grace is the agent's `timeout_grace`, else that of the run, else the agent's own `grace`, else the run's
        grace up to LONGEST_TIMEOUT_GRACE.
        """
        ladder, options = self.ladder_for_agent(agent), self.options.get(agent, AgentOptions())
        grace = self.settings.timeout_grace if options.timeout_grace is None else options.timeout_grace
        if grace is None and options.grace is None:
            grace = min(ladder.grace, LONGEST_TIMEOUT_GRACE)
        return ladder if grace is None else replace(ladder, grace=grace)

    def fit_of(self, agent: int) -> FittedLadder:
        """Return how the graces that an agent wants fit into what the host grants."""
        return self._fit([agent])

    def _ladder(self, agents: Sequence[int]) -> Ladder:
        return self._fit(agents).ladder

    def _fit(self, agents: Sequence[int]) -> FittedLadder:
        settings, said = self.settings, [self.options[agent] for agent in agents if agent in self.options]
        grace = max((options.grace for options in said if options.grace is not None), default=settings.grace)
        term_grace = max(
            (options.term_grace for options in said if options.term_grace is not None), default=settings.term_grace
        )
        return settings.fit(grace, term_grace)

    def timeout_of(self, agent: int) -> float | None:
        """Return the seconds that a task of this agent may take, None = no limit."""
        said = self.options[agent].timeout if agent in self.options else None
        return self.settings.timeout if said is None else said

    def retries_of(self, agent: int) -> int:
        """Return how often a failed task of this agent is tried again."""
        said = self.options[agent].retries if agent in self.options else None
        return self.settings.retries if said is None else said

    def slot(self, number: int, incarnation: int) -> Slot | None:
        """Return the slot if it still holds that incarnation, else None."""
        slot = self.slots[number]
        return slot if slot.incarnation == incarnation and slot.is_alive else None

    # -- what is to be done -------------------------------------------------------------------------

    def emit(self, instruction: Instruction) -> None:
        """Add an instruction."""
        self._out.append(instruction)

    def log(self, name: str, severity: Severity = Severity.INFO, *, detail: str | None = None, **fields: Any) -> None:
        """Add a named log event. `detail`: a field that only the journal keeps, such as a traceback."""
        self._out.append(EmitLog(name, severity, fields, detail))

    def record_outcome(self, outcome: TaskOutcome, agent: int) -> None:
        """Add an outcome of a task of `agent`; all of one step are recorded together."""
        self._outcomes.append(outcome)
        self.needs.remove(agent)
        if outcome.status in self.ended:
            self.ended[outcome.status] += 1

    @property
    def failures(self) -> int:
        """Return the number of failed tasks, those included that the journal has not confirmed yet."""
        return self.ended[ExecutionStatus.FAILED]

    def flush_outcomes(self) -> None:
        """Ask for this step's outcomes to be recorded."""
        if self._outcomes:
            self.uncommitted += len(self._outcomes)
            self.emit(CommitOutcomes(self._outcomes))
            self._outcomes = []

    def drain_instructions(self) -> list[Instruction]:
        """Return everything that is to be done, in order, and forget it."""
        out, self._out = self._out, []
        return out

    def status(self, now: float) -> StatusView:
        """Return what people may see of the run at `now` (monotonic seconds)."""
        due, ends = self.escalation.due, self.escalation.ends
        return StatusView(
            at=now,
            phase=self.phase,
            accepted=self.accepted,
            completed=self.counts[ExecutionStatus.COMPLETED],
            failed=self.counts[ExecutionStatus.FAILED],
            interrupted=self.counts[ExecutionStatus.INTERRUPTED],
            running=self.running,
            executors=[slot.view(self.concurrency_per_executor) for slot in self.slots if slot.is_alive],
            signal=self.signal,
            rung=self.escalation.rung,
            next_rung=None if due is None else max(0.0, due - now),
            stop_bound=None if ends is None else max(0.0, ends - now),
            loaded=bool(self.loaded_agents),
            restarts=sum(max(0, slot.incarnation - 1) for slot in self.slots),
            error=self.error,
            remaining=tuple(self.remaining),
            journal_broken=self.journal_broken,
            journal_deadline=self.journal_deadline,
            is_total_known=self.sealed,
            retried=self.retried,
        )

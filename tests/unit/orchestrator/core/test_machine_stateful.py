"""The machine as hypothesis sees it: any stimulus at any time, and the rules hold; a stop ends within its bound.

The world (world.py) checks every instruction as it is given: none twice, no task in two hands or after its end. Here
are the stimuli, the honest ones and those that come late, twice or from nowhere, and what must hold between them.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.core import stimuli
from orchestrator.core.records import TERMINAL
from orchestrator.core.status import Phase
from runtime.ipc import executor_protocol, frames, guardian_protocol
from runtime.model import InterruptReason, InterruptSignal
from runtime.stop_limits import JOURNAL_TIMEOUT, SWEEP_TIMEOUT
from tests.support.examples import scaled
from tests.unit.orchestrator.core.simulated_run import STOP, Executor, SimulatedRun

SLOTS = 3
_ORDER = [Phase.RUNNING, Phase.FINISHING, Phase.STOPPING, Phase.SWEEPING, Phase.ENDED]
_SLOT = st.integers(0, SLOTS - 1)
_PICK = st.integers(0, 11)
_WORLDS = st.fixed_dictionaries(
    {
        "tasks": st.integers(0, 12),
        "fresh": st.booleans(),
        "retries": st.integers(0, 2),
        "concurrency": st.sampled_from([1, 3]),
        "preempt": st.booleans(),
        "crash_limit": st.integers(1, 3),
        "grace": st.sampled_from([0.0, 1.0]),
        "term_grace": st.sampled_from([0.0, 1.0]),
    },
    optional={
        "timeout": st.just(2.0),
        "deadline": st.just(20.0),
        "heartbeat_timeout": st.just(5.0),
        "memory_limit": st.just(1000),
        "max_tasks_per_executor": st.integers(1, 4),
        "max_failures": st.builds(lambda count: {"count": count}, st.integers(0, 3)),
    },
)
_NONSENSE = [
    executor_protocol.TaskDone(99, "completed", b"1", "json", None, None, 0.0, 1.0, None),
    executor_protocol.TaskDone(1, "failed", None, "", "E", None, 0.0, 1.0, b"{"),
    executor_protocol.TasksReturned([1, 2, 99]),
    executor_protocol.Started(99),
    executor_protocol.Ready(frames.VERSION, 1),
    executor_protocol.Ready(0, 1),
    executor_protocol.AgentLoaded(9, "x", asynchronous=False, options=b"{}"),
    executor_protocol.AgentLoaded(0, "x", asynchronous=False, options=b"?"),
    executor_protocol.AgentLoadFailed(9, "no", ""),
    executor_protocol.Leaving(),
    executor_protocol.ThreadsEnded(1),
    executor_protocol.ThreadsEnded(99),
    executor_protocol.ThreadsLeft(99, ["x"], ""),
    executor_protocol.LoopBlocked(99, 0.0),
    executor_protocol.Delayed(["x"], ""),
]


class SupervisorStateMachineRules(RuleBasedStateMachine):
    """One run."""

    world: SimulatedRun

    @initialize(made=_WORLDS, asynchronous=st.booleans())
    def begin(self, made: dict[str, Any], asynchronous: bool) -> None:
        self.world = SimulatedRun(workers=SLOTS, **made)
        self.world.begin(asynchronous=asynchronous)
        self.phase = Phase.RUNNING
        self.signal: InterruptSignal | None = None
        self.ends: dict[int, str] = {}

    def _alive(self) -> bool:
        return not self.world.finished

    def _ready(self, slot: int) -> Executor | None:
        executor = self.world.executors.get(slot)
        return executor if executor is not None and executor.ready and not executor.hires else None

    # -- what executors do ------------------------------------------------------------------------------

    @precondition(_alive)
    @rule(slot=_SLOT)
    def comes_up(self, slot: int) -> None:
        if slot in self.world.executors:
            self.world.come_up(slot)

    @precondition(_alive)
    @rule(slot=_SLOT, pick=_PICK, status=st.sampled_from(["completed", "failed", "interrupted"]))
    def ends_a_task(self, slot: int, pick: int, status: str) -> None:
        executor = self._ready(slot)
        if executor is not None and executor.tasks:
            which = pick % len(executor.tasks)
            self.world.hear(slot, executor_protocol.Started(executor.tasks[which]))
            self.world.end_task(slot, status, which, STOP if status == "interrupted" else None)

    @precondition(_alive)
    @rule(slot=_SLOT, pick=_PICK, status=st.sampled_from(["failed", "interrupted"]))
    def ends_a_task_and_leaves_threads(self, slot: int, pick: int, status: str) -> None:
        executor = self._ready(slot)
        if executor is not None and executor.tasks:
            which = pick % len(executor.tasks)
            self.world.hear(slot, executor_protocol.Started(executor.tasks[which]))
            self.world.end_with_threads(slot, status, which, STOP if status == "interrupted" else None)

    @precondition(_alive)
    @rule(slot=_SLOT)
    def its_threads_end(self, slot: int) -> None:
        if slot in self.world.executors:
            self.world.end_threads(slot)

    @precondition(_alive)
    @rule(slot=_SLOT, pick=_PICK, is_known=st.booleans(), over=st.booleans())
    def its_loop_is_blocked(self, slot: int, pick: int, is_known: bool, over: bool) -> None:
        executor = self._ready(slot)
        if executor is not None and executor.tasks:
            task = executor.tasks[pick % len(executor.tasks)] if is_known else 0
            now = self.world.now
            self.world.hear(slot, executor_protocol.LoopBlocked(task, now - 0.5, now if over else None))

    @precondition(_alive)
    @rule(slot=_SLOT, pick=_PICK)
    def saves_a_snapshot(self, slot: int, pick: int) -> None:
        executor = self._ready(slot)
        if executor is not None and executor.tasks:
            task = executor.tasks[pick % len(executor.tasks)]
            self.world.hear(slot, executor_protocol.Started(task), executor_protocol.Snapshot(task, b"[1]", "json"))

    @precondition(_alive)
    @rule(slot=_SLOT, count=st.integers(0, 4))
    def gives_back(self, slot: int, count: int) -> None:
        if self._ready(slot):
            self.world.give_back(slot, count)

    @precondition(_alive)
    @rule(slot=_SLOT, code=st.sampled_from([-11, -9, 0, 3]))
    def dies(self, slot: int, code: int) -> None:
        if slot in self.world.executors:
            self.world.die(slot, code)

    @precondition(_alive)
    @rule(slot=_SLOT)
    def leaves(self, slot: int) -> None:
        executor = self._ready(slot)
        if executor is not None and (executor.retiring or self.world.flags):
            self.world.leave(slot)

    @precondition(_alive)
    @rule(slot=_SLOT)
    def sends_garbage(self, slot: int) -> None:
        executor = self.world.executors.get(slot)
        if executor is not None:
            self.world.tell(stimuli.ProtocolErrorDetected(slot, executor.incarnation, "noise"))

    @precondition(_alive)
    @rule(slot=_SLOT, record=st.sampled_from(_NONSENSE))
    def says_nonsense(self, slot: int, record: executor_protocol.ExecutorRecord) -> None:
        """What it says of tasks that it has is believed: so they are not in its hands any more."""
        executor = self.world.executors.get(slot)
        if executor is None or executor.killed:
            return
        if isinstance(record, executor_protocol.TasksReturned) and not executor.held & set(record.tasks):
            executor.tasks = [task for task in executor.tasks if task not in record.tasks]
        if isinstance(record, executor_protocol.ThreadsEnded):
            executor.held.discard(record.task)
        self.world.hear(slot, record)

    @precondition(_alive)
    @rule(
        slot=_SLOT,
        stimulus=st.sampled_from(
            [
                stimuli.ExecutorExited,
                stimuli.RecordsReceived,
                stimuli.ProtocolErrorDetected,
                stimuli.MemoryExceeded,
                guardian_protocol.ForkedReport,
            ]
        ),
    )
    def a_word_comes_from_the_dead(self, slot: int, stimulus: type[Any]) -> None:
        """Of an incarnation that is not there (any more)."""
        words: dict[Any, tuple[Any, ...]] = {
            stimuli.ExecutorExited: (1, -9, 1.0, 0, 1, "SIGKILL"),
            stimuli.RecordsReceived: ([executor_protocol.Leaving()],),
            stimuli.ProtocolErrorDetected: ("old",),
            stimuli.MemoryExceeded: (10_000,),
            guardian_protocol.ForkedReport: (7,),
        }
        self.world.tell(stimulus(slot, 0, *words[stimulus]))

    # -- what the store and the guardian do -----------------------------------------------------------------

    @precondition(lambda self: self._alive() and self.world.fetches)
    @rule()
    def tasks_are_read(self) -> None:
        self.world.answer_fetch()

    @precondition(lambda self: self._alive() and self.world.records)
    @rule()
    def outcomes_are_committed(self) -> None:
        self.world.answer_commit()

    @precondition(lambda self: self._alive() and self.world.sweeps)
    @rule()
    def the_guardian_has_swept(self) -> None:
        self.world.answer_sweep()

    @precondition(_alive)
    @rule(slot=_SLOT)
    def strays_are_found(self, slot: int) -> None:
        self.world.tell(guardian_protocol.StraysReport(slot, 1, ["7 (sleep)"]))

    @precondition(_alive)
    @rule(slot=_SLOT, rss=st.sampled_from([900, 2000]))
    def an_executor_grows(self, slot: int, rss: int) -> None:
        executor = self._ready(slot)
        if executor is not None:
            self.world.tell(stimuli.MemoryExceeded(slot, executor.incarnation, rss))

    @precondition(_alive)
    @rule(silent=st.booleans())
    def memory_is_looked_at(self, silent: bool) -> None:
        self.world.look(beat=self.world.now - 60 if silent else self.world.now)

    # -- time, and stops ------------------------------------------------------------------------------------

    @precondition(_alive)
    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.tick(seconds)

    @precondition(_alive)
    @rule(slot=_SLOT, pick=_PICK, reason=st.sampled_from(InterruptReason))
    def one_task_is_interrupted(self, slot: int, pick: int, reason: InterruptReason) -> None:
        """A task that runs, or one that does not."""
        executor = self.world.executors.get(slot)
        tasks = executor.tasks if executor is not None and executor.tasks else [pick + 1]
        why = InterruptSignal(reason=reason, message="one", triggered_by="test")
        self.world.tell(stimuli.InterruptRequested(why, f"k{tasks[pick % len(tasks)]}"))

    @precondition(_alive)
    @rule(
        stimulus=st.sampled_from(
            [
                stimuli.OsSignalReceived("SIGTERM", user=False),
                stimuli.OsSignalReceived("SIGINT", user=True),
                stimuli.InterruptRequested(STOP),
                stimuli.HostFailed("no processes"),
            ]
        )
    )
    def everything_is_to_stop(self, stimulus: stimuli.Stimulus) -> None:
        self.world.tell(stimulus)

    @precondition(_alive)
    @rule(
        stimulus=st.one_of(
            st.builds(
                stimuli.HostEndAnnounced,
                st.sampled_from([-1.0, 0.0, 1.0, 5.0]),
                st.just("it goes"),
                st.just("host:test"),
                st.booleans(),
            ),
            st.just(stimuli.HostEndExpected("perhaps", "host:test")),
            st.just(stimuli.HostEndWithdrawn("it stays", "host:test")),
        )
    )
    def the_host_gives_notice(self, stimulus: stimuli.Stimulus) -> None:
        self.world.tell(stimulus)

    @precondition(lambda self: not self._alive())
    @rule(
        stimulus=st.sampled_from(
            [
                stimuli.TimerFired(),
                guardian_protocol.SweepReport(1, 1, []),
                stimuli.OsSignalReceived("SIGTERM", user=False),
                stimuli.InterruptRequested(STOP),
                stimuli.JournalFailed("too late"),
                stimuli.ProgressSampled([(0, 0.0, 1.0)] * SLOTS),
            ]
        )
    )
    def something_comes_after_the_end(self, stimulus: stimuli.Stimulus) -> None:
        assert self.world.machine.handle(stimulus, self.world.now) == []

    # -- what holds -----------------------------------------------------------------------------------------

    @invariant()
    def the_phase_never_goes_back(self) -> None:
        if not hasattr(self, "world"):
            return
        now = self.world.machine.state.phase
        assert _ORDER.index(now) >= _ORDER.index(self.phase)
        assert (self.phase, now) != (Phase.FINISHING, Phase.STOPPING)
        self.phase = now

    @invariant()
    def the_first_signal_stays(self) -> None:
        if hasattr(self, "world"):
            now = self.world.machine.state.signal
            assert self.signal is None or now is self.signal
            self.signal = now
            assert self.world.flags == ([now] if now is not None else [])

    @invariant()
    def no_end_of_a_task_changes(self) -> None:
        if hasattr(self, "world"):
            for seq, known in self.world.outcomes.items():
                final = [str(each.status) for each in known if each.status in TERMINAL]
                assert final[:1] in ([], [self.ends.setdefault(seq, final[0])] if final else [])

    @invariant()
    def the_books_agree(self) -> None:
        if hasattr(self, "world"):
            state = self.world.machine.state
            assert state.uncommitted == sum(len(record.outcomes) for record in self.world.records)
            assert {slot.number for slot in state.alive} <= set(self.world.executors)

    def teardown(self) -> None:
        """Whatever happened, and whichever process never answers again: it ends within the bound."""
        if not hasattr(self, "world") or self.world.finished:
            return
        world = self.world
        world.tell(stimuli.InterruptRequested(STOP))
        world.tick(world.machine.state.ladder.total + JOURNAL_TIMEOUT + SWEEP_TIMEOUT + 0.2)
        if world.swept == 2:  # the guardian does not answer either: it is given up, and its work done without it
            world.answer_sweep()
        assert world.finished, world.machine.state.phase


SupervisorStateMachineRules.TestCase.settings = settings(max_examples=scaled(60), stateful_step_count=50)
TestSupervisorStateMachineRules = pytest.mark.timeout(300)(
    SupervisorStateMachineRules.TestCase
)  # a failing history takes a while to be made short

"""States of executor slots and of running tasks: tables of legal transitions, and what reads them. Pure.

*Theory.* A slot is in one state of each of three tables, because they change independently: its process (`SlotState`),
what still goes to it (`Intake`), and the agents that it was asked to load (`AgentLoading`). A task that an executor has
been sent is in one state of a fourth (`AssignmentState`). A pair of state and event that is not in its table is
illegal: `next_state` raises and nothing has changed. Where a record of an executor was the event, that executor is not
believed any more (machine.py). The diagram in docs/architecture.md is made of these tables (scripts/state_diagrams.py).

*Rejected.* One table for a slot: its states would be the product of the three, 45 of them, most of them impossible.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


class IllegalTransition(ValueError):
    """Report an event that the state of its subject does not allow. The state is unchanged."""

    def __init__(self, subject: str, state: StrEnum, event: StrEnum) -> None:
        super().__init__(f"{subject} is {state}: it cannot take the event {event}")
        self.state = state
        self.event = event


def next_state(table: Mapping[tuple[State, Event], State], state: State, event: Event, subject: str) -> State:
    """Return the state after `event`. Raises IllegalTransition, which names the subject, where the table has none."""
    after = table.get((state, event))
    if after is None:
        raise IllegalTransition(subject, state, event)
    return after


class SlotState(StrEnum):
    """Name the states of the process of a slot: the life of one incarnation."""

    EMPTY = "empty"
    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"
    """It was asked to exit, or says that it will."""
    DISTRUSTED = "distrusted"
    """It broke the protocol. Nothing that it sends is believed."""


class SlotEvent(StrEnum):
    """Name what changes the process of a slot."""

    START = "start"
    READY = "ready"
    LEAVE = "leave"
    DISTRUST = "distrust"
    EXIT = "exit"


SLOT_TABLE: Final[Mapping[tuple[SlotState, SlotEvent], SlotState]] = {
    (SlotState.EMPTY, SlotEvent.START): SlotState.STARTING,
    (SlotState.STARTING, SlotEvent.READY): SlotState.READY,
    (SlotState.STARTING, SlotEvent.LEAVE): SlotState.LEAVING,
    (SlotState.READY, SlotEvent.LEAVE): SlotState.LEAVING,
    (SlotState.LEAVING, SlotEvent.LEAVE): SlotState.LEAVING,
    (SlotState.STARTING, SlotEvent.DISTRUST): SlotState.DISTRUSTED,
    (SlotState.READY, SlotEvent.DISTRUST): SlotState.DISTRUSTED,
    (SlotState.LEAVING, SlotEvent.DISTRUST): SlotState.DISTRUSTED,
    (SlotState.STARTING, SlotEvent.EXIT): SlotState.EMPTY,
    (SlotState.READY, SlotEvent.EXIT): SlotState.EMPTY,
    (SlotState.LEAVING, SlotEvent.EXIT): SlotState.EMPTY,
    (SlotState.DISTRUSTED, SlotEvent.EXIT): SlotState.EMPTY,
}


class Intake(StrEnum):
    """Name what still goes to the executor of a slot."""

    OPEN = "open"
    DRAINING = "draining"
    """No task any more: the executor is replaced when it has ended those that it has."""
    KILLED = "killed"
    """Nothing: SIGKILL was sent to its tree."""


class IntakeEvent(StrEnum):
    """Name what changes the intake of a slot."""

    DRAIN = "drain"
    KILL = "kill"
    EXIT = "exit"


INTAKE_TABLE: Final[Mapping[tuple[Intake, IntakeEvent], Intake]] = {
    (Intake.OPEN, IntakeEvent.DRAIN): Intake.DRAINING,
    (Intake.DRAINING, IntakeEvent.DRAIN): Intake.DRAINING,
    (Intake.KILLED, IntakeEvent.DRAIN): Intake.KILLED,
    (Intake.OPEN, IntakeEvent.KILL): Intake.KILLED,
    (Intake.DRAINING, IntakeEvent.KILL): Intake.KILLED,
    (Intake.OPEN, IntakeEvent.EXIT): Intake.OPEN,
    (Intake.DRAINING, IntakeEvent.EXIT): Intake.OPEN,
    (Intake.KILLED, IntakeEvent.EXIT): Intake.OPEN,
}


class AgentLoading(StrEnum):
    """Name whether the executor of a slot has loaded all agents that it was asked for."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    """It could not load an agent that others could."""


class LoadingEvent(StrEnum):
    """Name what changes the loading of agents."""

    REQUIRE = "require"
    FINISH = "finish"
    FAIL = "fail"
    EXIT = "exit"


LOADING_TABLE: Final[Mapping[tuple[AgentLoading, LoadingEvent], AgentLoading]] = {
    (AgentLoading.PENDING, LoadingEvent.REQUIRE): AgentLoading.PENDING,
    (AgentLoading.DONE, LoadingEvent.REQUIRE): AgentLoading.PENDING,
    (AgentLoading.PENDING, LoadingEvent.FINISH): AgentLoading.DONE,
    (AgentLoading.DONE, LoadingEvent.FINISH): AgentLoading.DONE,
    (AgentLoading.FAILED, LoadingEvent.FINISH): AgentLoading.DONE,
    (AgentLoading.PENDING, LoadingEvent.FAIL): AgentLoading.FAILED,
    (AgentLoading.DONE, LoadingEvent.FAIL): AgentLoading.DONE,
    (AgentLoading.FAILED, LoadingEvent.FAIL): AgentLoading.FAILED,
    (AgentLoading.PENDING, LoadingEvent.EXIT): AgentLoading.PENDING,
    (AgentLoading.DONE, LoadingEvent.EXIT): AgentLoading.PENDING,
    (AgentLoading.FAILED, LoadingEvent.EXIT): AgentLoading.PENDING,
}


class AssignmentState(StrEnum):
    """Name the states of a task that an executor was sent, as far as the supervisor knows."""

    SENT = "sent"
    RUNNING = "running"
    LINGERING = "lingering"
    """It is about to end, and threads of it still run."""
    HELD = "held"
    """It has ended, and threads of it still run: its outcome waits for their end, or for that of the executor."""
    ENDED = "ended"
    RETURNED = "returned"


class AssignmentEvent(StrEnum):
    """Name what changes a task that an executor was sent."""

    BEGIN = "begin"
    LEAVE_THREADS = "leave threads"
    END_THREADS = "end threads"
    HOLD = "hold"
    END = "end"
    RETURN = "return"


ASSIGNMENT_TABLE: Final[Mapping[tuple[AssignmentState, AssignmentEvent], AssignmentState]] = {
    (AssignmentState.SENT, AssignmentEvent.BEGIN): AssignmentState.RUNNING,
    (AssignmentState.RUNNING, AssignmentEvent.BEGIN): AssignmentState.RUNNING,
    (AssignmentState.LINGERING, AssignmentEvent.BEGIN): AssignmentState.LINGERING,
    (AssignmentState.HELD, AssignmentEvent.BEGIN): AssignmentState.HELD,
    (AssignmentState.SENT, AssignmentEvent.LEAVE_THREADS): AssignmentState.LINGERING,
    (AssignmentState.RUNNING, AssignmentEvent.LEAVE_THREADS): AssignmentState.LINGERING,
    (AssignmentState.LINGERING, AssignmentEvent.LEAVE_THREADS): AssignmentState.LINGERING,
    (AssignmentState.HELD, AssignmentEvent.LEAVE_THREADS): AssignmentState.HELD,
    (AssignmentState.SENT, AssignmentEvent.END_THREADS): AssignmentState.SENT,
    (AssignmentState.RUNNING, AssignmentEvent.END_THREADS): AssignmentState.RUNNING,
    (AssignmentState.LINGERING, AssignmentEvent.END_THREADS): AssignmentState.RUNNING,
    (AssignmentState.HELD, AssignmentEvent.END_THREADS): AssignmentState.RUNNING,
    (AssignmentState.LINGERING, AssignmentEvent.HOLD): AssignmentState.HELD,
    (AssignmentState.SENT, AssignmentEvent.END): AssignmentState.ENDED,
    (AssignmentState.RUNNING, AssignmentEvent.END): AssignmentState.ENDED,
    (AssignmentState.LINGERING, AssignmentEvent.END): AssignmentState.ENDED,
    (AssignmentState.SENT, AssignmentEvent.RETURN): AssignmentState.RETURNED,
    (AssignmentState.RUNNING, AssignmentEvent.RETURN): AssignmentState.RETURNED,
    (AssignmentState.LINGERING, AssignmentEvent.RETURN): AssignmentState.RETURNED,
}

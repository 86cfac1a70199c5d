"""The tables of states: every pair is in one, or is refused without a change."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.core.records import PendingTask
from orchestrator.core.slots import Assignment, Slot
from orchestrator.core.transitions import (
    ASSIGNMENT_TABLE,
    INTAKE_TABLE,
    LOADING_TABLE,
    SLOT_TABLE,
    AgentLoading,
    AssignmentEvent,
    AssignmentState,
    IllegalTransition,
    Intake,
    IntakeEvent,
    LoadingEvent,
    SlotEvent,
    SlotState,
)

MACHINES: list[tuple[Any, Any, Mapping[Any, Any]]] = [
    (SlotState, SlotEvent, SLOT_TABLE),
    (Intake, IntakeEvent, INTAKE_TABLE),
    (AgentLoading, LoadingEvent, LOADING_TABLE),
    (AssignmentState, AssignmentEvent, ASSIGNMENT_TABLE),
]


def subject_in(state: Any) -> tuple[Any, Any, str]:
    """Something that is in this state, how an event is applied to it, and the attribute with its state."""
    if isinstance(state, AssignmentState):
        assignment = Assignment(PendingTask(1, "k", b"null"), 1, state=state)
        return assignment, assignment.apply, "state"
    slot = Slot(0)
    if isinstance(state, SlotState):
        slot.state = state
        return slot, slot.apply, "state"
    if isinstance(state, Intake):
        slot.intake = state
        return slot, slot.apply_intake, "intake"
    slot.loading = state
    return slot, slot.apply_loading, "loading"


@pytest.mark.parametrize(("states", "events", "table"), MACHINES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_legal_event_changes_the_state_and_an_illegal_one_raises_and_changes_nothing(
    states: Any, events: Any, table: Mapping[Any, Any]
) -> None:
    for state, event in itertools.product(states, events):
        subject, apply, attribute = subject_in(state)
        before = repr(subject)
        if (state, event) in table:
            apply(event)
            assert getattr(subject, attribute) is table[state, event]
        else:
            with pytest.raises(IllegalTransition, match=f"is {state}: it cannot take the event {event}"):
                apply(event)
            assert repr(subject) == before


@pytest.mark.parametrize(("states", "events", "table"), MACHINES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_state_can_be_reached_and_every_event_is_of_use(
    states: Any, events: Any, table: Mapping[Any, Any]
) -> None:
    reached = {next(iter(table))[0]}
    while more := {after for (state, _), after in table.items() if state in reached} - reached:
        reached |= more
    assert reached == set(states)
    assert {event for _, event in table} == set(events)

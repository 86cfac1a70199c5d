"""Every stimulus and every record has a handler, every instruction an effect, and none has one that is not needed."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any, get_args
from unittest.mock import Mock

import msgspec

from orchestrator.config import Settings
from orchestrator.core import instructions, stimuli
from orchestrator.core.machine import SupervisorStateMachine
from orchestrator.engine.effects import Effects
from runtime.ipc.executor_protocol import ExecutorRecord, TaskEvent
from runtime.ipc.guardian_protocol import (
    ForkedReport,
    ReadyReport,
    StraysReport,
    SweepReport,
    UndoKeptReport,
    UndoReport,
)


def records_of(module: ModuleType) -> set[Any]:
    """The records that a module defines."""
    classes = (value for _, value in inspect.getmembers(module, inspect.isclass))
    return {cls for cls in classes if issubclass(cls, msgspec.Struct) and cls.__module__ == module.__name__}


def test_every_stimulus_and_record_of_an_executor_has_a_handler() -> None:
    machine = SupervisorStateMachine(Settings.from_options(workers=1))
    reports = {ReadyReport, ForkedReport, StraysReport, SweepReport, UndoKeptReport, UndoReport}
    assert set(get_args(stimuli.Stimulus)) == records_of(stimuli) | reports == set(machine._handlers)
    events = {TaskEvent}  # which the multiplexer sends to the journal
    assert set(machine._record_handlers) == set(get_args(ExecutorRecord)) - events


def test_every_instruction_has_an_effect() -> None:
    part: Any = Mock()
    effects = Effects(part, part, part, part, post=part, on_agent=part, end=part, write_stacks=part, now=part)
    assert set(get_args(instructions.Instruction)) == records_of(instructions) == set(effects._performers)

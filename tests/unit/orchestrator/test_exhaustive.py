"""Every stimulus, instruction and record of an executor has a handler: a new one without fails here, not in a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestrator.core.instructions import Instruction
from orchestrator.core.stimuli import Stimulus
from runtime.ipc.executor_protocol import ExecutorRecord, TaskEvent

ORCHESTRATOR = Path(__file__).parents[3] / "orchestrator"
TABLES = [
    (Stimulus, "core/machine.py", "stimuli", set()),
    (Instruction, "engine/loop.py", "instructions", set()),
    (ExecutorRecord, "core/machine.py", "executor_protocol", {TaskEvent}),  # the engine's: they go to the journal
]
"""Each union, the module with its table of handlers (`TYPE: handler`), and what needs none there."""


@pytest.mark.parametrize(("union", "module", "prefix", "others"), TABLES, ids=[prefix for _, _, prefix, _ in TABLES])
def test_every_member_has_a_handler(union: Any, module: str, prefix: str, others: set[type]) -> None:
    table = re.findall(rf"^ +{prefix}\.(\w+): ", (ORCHESTRATOR / module).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(table) == sorted(member.__name__ for member in {*get_args(union)} - others)

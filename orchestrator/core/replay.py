"""Feed a recorded history to a new state machine. Pure.

The machine depends on its settings, the stimuli and their times alone, with one exception: `triggered_at` of a signal
that the machine itself makes is the wall clock's, which people compare with other clocks; `now` is monotonic and stands
still while a laptop sleeps. Nothing is decided by it. So instructions are compared without it: `comparable`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from orchestrator.core.history import PAYLOAD_LIMIT, History
from orchestrator.core.history_text import render
from orchestrator.core.instructions import Instruction
from orchestrator.core.machine import SupervisorStateMachine
from orchestrator.core.settings import RunSettings

_TIME = re.compile(r'(triggered_at\\?": ?\\?")[^"\\]*')


def replay(settings: RunSettings, history: History) -> tuple[SupervisorStateMachine, list[list[Instruction]]]:
    """Return a new machine that has taken a history, and the instructions that it gave for each of its stimuli.

    Raises ValueError where the history does not have its beginning (a longer run): the state that it began with is
    unknown. Raises what the machine raised, if it did.
    """
    if history.dropped:
        raise ValueError(
            f"this history begins after {history.dropped} stimuli that are not in it: it can be read, not replayed"
        )
    machine = SupervisorStateMachine(settings)
    return machine, [machine.handle(stimulus, now) for now, stimulus in history]


def comparable(given: Sequence[Instruction]) -> list[str]:
    """Return instructions as text that is equal for equal decisions: without payloads and `triggered_at`."""
    return [_TIME.sub(r"\1", json.dumps(render(instruction, PAYLOAD_LIMIT))) for instruction in given]

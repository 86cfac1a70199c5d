"""The graces that an agent's task has."""

from __future__ import annotations

import pytest

from orchestrator.core.settings import LONGEST_TIMEOUT_GRACE, RunSettings
from orchestrator.core.state import SupervisorState
from runtime.agents import AgentOptions


@pytest.mark.parametrize(
    ("settings", "options", "grace"),
    [
        ({}, {}, LONGEST_TIMEOUT_GRACE),
        ({"grace": 2.0}, {}, 2.0),
        ({"grace": 60.0}, {}, LONGEST_TIMEOUT_GRACE),
        ({"timeout_grace": 20.0}, {}, 20.0),
        ({"timeout_grace": 0.0}, {"grace": 60.0}, 0.0),
        ({}, {"grace": 60.0}, 60.0),
        ({}, {"grace": 60.0, "timeout_grace": 3.0}, 3.0),
        ({"timeout_grace": 20.0}, {"timeout_grace": 3.0}, 3.0),
    ],
)
def test_the_grace_of_a_task_over_its_timeout(
    settings: dict[str, float], options: dict[str, float], grace: float
) -> None:
    state = SupervisorState(RunSettings(workers=1, **settings))  # type: ignore[arg-type]
    state.options[0] = AgentOptions(**options)  # type: ignore[arg-type]
    ladder = state.ladder_for_timeout(0)
    assert (ladder.grace, ladder.term_grace) == (grace, 5.0)
    assert state.ladder_for_agent(0).grace == options.get("grace", settings.get("grace", 10.0))

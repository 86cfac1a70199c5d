"""Lines are those that structlog makes."""

from __future__ import annotations

from typing import Any

import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.logging.console_lines import EVENT_WIDTH, SPECIAL, coloured_line, json_line, plain_line
from runtime.model import Severity

NAMES = st.sampled_from(["a", "run.finished", "executor.output_lost", "a.name.that.is.longer.than.its.column", ""])
LEVELS = st.sampled_from([severity.name.lower() for severity in Severity])
TEXTS = st.text(max_size=8) | st.sampled_from(["", " ", "it's", 'a "b"', "a=b", "tab\t", "line\n", "ends "])
VALUES = TEXTS | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(TEXTS, max_size=2)
TAKEN = SPECIAL | {"event", "level", "timestamp"}
KEYS = st.from_regex(r"[a-z_]{1,6}", fullmatch=True).filter(lambda name: name not in TAKEN)
FIELDS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(KEYS, VALUES)


def rendered(renderer: Any, name: str, level: str, fields: dict[str, Any]) -> str:
    return str(renderer(None, name, {**fields, "event": name, "level": level, "timestamp": "12:30:00"}))


@given(NAMES, LEVELS, FIELDS)
@example("x", "info", {"last": ""})
@example("x", "info", {"last": "a "})
def test_lines_for_people_are_those_of_structlog(name: str, level: str, fields: dict[str, Any]) -> None:
    for colors, line in ((False, plain_line), (True, coloured_line)):
        theirs = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=EVENT_WIDTH, sort_keys=False)
        assert line(name, level, "12:30:00", fields) == rendered(theirs, name, level, fields)


@given(NAMES, LEVELS, FIELDS | st.dictionaries(st.sampled_from(sorted(SPECIAL)), VALUES | st.just(object)))
def test_json_is_that_of_structlog(name: str, level: str, fields: dict[str, Any]) -> None:
    theirs = structlog.processors.JSONRenderer(default=str)
    assert json_line(name, level, "12:30:00", fields) == rendered(theirs, name, level, fields)

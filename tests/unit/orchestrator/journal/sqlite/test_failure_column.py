"""The description of a failure is in the file as JSON that people can read."""

from __future__ import annotations

import json

import pytest

from orchestrator.journal.sqlite.failure_column import failure_text, read_failure
from runtime.failure import Failure
from runtime.user_frames import Frame

FAILURE = Failure(
    type="m.Refused", bases=["ValueError", "Exception"], frame=Frame("a.py", 3, "work"), arguments=b'[["a"],{}]'
)


@pytest.mark.parametrize("failure", [FAILURE, Failure(type="KeyError")])
def test_a_failure_is_read_as_it_was_written(failure: Failure) -> None:
    assert read_failure(failure_text(failure)) == failure


def test_the_text_is_readable() -> None:
    assert json.loads(failure_text(FAILURE)) == {
        "type": "m.Refused",
        "bases": ["ValueError", "Exception"],
        "frame": {"file": "a.py", "line": 3, "function": "work"},
        "arguments": '[["a"],{}]',
    }


def test_what_a_broken_executor_sends_can_be_written() -> None:
    broken = Failure(type="\udcff", frame=Frame("\udcfe", 1, "\udcfd"), arguments=b"\xff")
    assert read_failure(failure_text(broken)).type == r"\udcff"

"""The key of a command's task is the text of its input."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.commands.task_names import LONGEST_KEY, CommandTaskNames, text_key
from orchestrator.cli.inputs.entries import Entry
from runtime.ipc.codec import encode_json


def keys(*values: Any, field: str | None = None) -> list[str]:
    names = CommandTaskNames(field)
    return [names.task(Entry(9, value, encode_json(value)), "file:", 9).key for value in values]


def test_keys_are_texts_or_fields() -> None:
    assert keys("a b", 5, {"key": "k"}, {"x": 1}, ["a", "c"]) == ["a b", "5", "k", '{"x":1}', "a c"]
    assert keys({"id": 7, "key": "k"}, field="id") == ["7"]


def test_lists_of_other_elements_have_other_keys() -> None:
    lists = [["a b", "c"], ["a", "b c"], ["a", "b", "c"], ["a", ""], ["", "a"]]
    assert len({text_key(value) for value in lists}) == len(lists)


def test_an_input_that_is_there_twice_is_run_twice() -> None:
    assert keys("a", "a", "b", "a", "a (2)") == ["a", "a (2)", "b", "a (3)", "a (2) (2)"]


def test_long_texts_are_cut_and_still_differ() -> None:
    first, second = (text_key("x" * 100_000 + end) for end in "ab")
    assert first != second
    assert len(first) < LONGEST_KEY + 20


def test_tasks_are_numbered_without_gaps() -> None:
    names = CommandTaskNames()
    assert [names.task(Entry(line, str(line), b'""'), "", line).seq for line in (2, 5, 9)] == [1, 2, 3]

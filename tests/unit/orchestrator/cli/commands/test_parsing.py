"""What stands behind `--`, and `-j` before it."""

from __future__ import annotations

import pytest

from orchestrator.cli.commands.lists import source_of_lists
from orchestrator.cli.commands.parsing import InputList, number_of_jobs, split_command, with_jobs
from orchestrator.cpus import usable_cpus
from runtime.errors import UsageError
from runtime.limits import MAX_SLOTS


def inputs(text: str, *, link: bool = False) -> list[object]:
    entries = source_of_lists(split_command(text.split()).lists, link=link).entries()
    return [entry.value for entry in entries if entry is not None]


def test_words_and_lists_are_told_apart() -> None:
    given = split_command(["echo", "{}", ":::", "a", "b", ":::+", "c", "::::", "f"])
    assert given.words == ["echo", "{}"]
    assert given.lists == [InputList(["a", "b"]), InputList(["c"], linked=True), InputList(["f"], from_files=True)]
    assert split_command(["true"]).lists == []


def test_lists_are_combined_the_last_one_first() -> None:
    assert inputs("x ::: a b") == ["a", "b"]
    assert inputs("x ::: a b ::: c d") == [["a", "c"], ["a", "d"], ["b", "c"], ["b", "d"]]


def test_linked_lists_go_side_by_side_and_begin_again() -> None:
    assert inputs("x ::: 1 2 3 ::: a b", link=True) == [["1", "a"], ["2", "b"], ["3", "a"]]
    assert inputs("x ::: 1 2 :::+ a b ::: c") == [["1", "a", "c"], ["2", "b", "c"]]
    assert inputs("x ::: 1 ::: ", link=True) == []


def test_the_number_of_jobs_is_that_of_parallel() -> None:
    cpus = usable_cpus()
    assert [number_of_jobs(text) for text in ("3", "0", "100%", "+2")] == [3, MAX_SLOTS, cpus, cpus + 2]
    assert number_of_jobs(f"-{cpus + 5}") == 1
    assert number_of_jobs("runs.db") is None


def test_j_is_workers_for_a_number_and_the_journal_for_a_path() -> None:
    assert with_jobs(["-j", "4", "-k"]) == ["--workers", "4", "-k"]
    assert with_jobs(["-j4", "--jobs=2"]) == ["--workers", "4", "--workers", "2"]
    assert with_jobs(["-j", "runs.db"]) == ["--journal", "runs.db"]
    with pytest.raises(UsageError, match="--jobs x"):
        with_jobs(["--jobs", "x"])

"""What agents print, log and warn comes up as lines of their tasks."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support.cli import Completed, run_cli


def run(tmp_path: Path, name: str, inputs: list[Any], *options: str, code: int = 0) -> Completed:
    """Run an agent over inputs whose keys are their numbers."""
    source = jsonl(tmp_path / "in.jsonl", inputs)
    done = run_cli("run", agent(name), "-i", source, "-j", tmp_path / "j.db", *options, timeout=80)
    assert done.returncode == code, done
    return done


def output(done: Completed) -> dict[str | None, list[dict[str, Any]]]:
    """Return the output events of a JSON log by key, without what is the same in all of them."""
    found: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for line in done.stderr.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "executor.output":
            found[event.get("key")].append(event)
    return found


def on(events: list[dict[str, Any]], *streams: str) -> list[str]:
    return [event["line"] for event in events if event["stream"] in streams and "logger" not in event]


def records(events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(event["level"], event["logger"], event["line"]) for event in events if "logger" in event]


def test_everything_that_a_task_writes_has_its_key(tmp_path: Path) -> None:
    """In the order in which it was written, of one stream; records with level and logger."""
    found = output(run(tmp_path, "prints:everything", ["one", "two", "three"], "-w", "2", "--log-format", "json"))
    assert set(found) == {"1", "2", "3"}
    for key, name in {"1": "one", "2": "two", "3": "three"}.items():
        assert on(found[key], "stdout") == [
            f"printed {name}",
            f"child of {name}",
            f"raw {name} \\xff",
            f"from C {name}",
            f"bytes {name}",
            f"thread {name}",
            f"last {name}",
        ]
        assert on(found[key], "stderr") == [f"on stderr {name}"]
        logged = records(found[key])
        assert ("warning", "shop.orders", f"logged {name}") in logged
        assert ("error", "quiesce.agent", f'said {name} {{"n":1}}') in logged
        ((warned, source),) = [(text, name) for _, name, text in logged if name == "py.warnings"]
        assert f"UserWarning: warned {name}" in warned
        assert source == "py.warnings"
        assert len(logged) == 3


def test_lines_for_people_begin_with_the_key(tmp_path: Path) -> None:
    """Records name their level and logger; each line of one has the key."""
    done = run(tmp_path, "prints:configured", ["a"], "-w", "1")
    lines = done.stderr.splitlines()
    assert "1 | DEBUG shop.orders: detail of a" in lines
    at = lines.index("1 | ERROR shop.orders: it went wrong")
    assert lines[at + 1] == "1 | Traceback (most recent call last):"
    assert lines.index("1 | ValueError: a") > at
    first = lines.index("1 | ERROR shop.orders: long é")
    assert lines[first + 1 : first + 10_000] == ["1 | é"] * 9_999


def test_structlog_sends_records(tmp_path: Path) -> None:
    found = output(run(tmp_path, "prints:structured", ["a", "b"], "-w", "1", "--log-format", "json"))
    ((level, logger, text),) = [record for record in records(found["2"]) if "went wrong" in record[2]]
    assert (level, logger) == ("error", "structlog")
    assert "order=7" in text


def test_async_tasks_side_by_side_do_not_mix(tmp_path: Path) -> None:
    """Their lines begin and end while others print."""
    inputs = ["one", "two", "three", "four"]
    options = ("-w", "1", "--concurrency", "4", "--log-format", "json")
    found = output(run(tmp_path, "prints:side_by_side", inputs, *options))
    assert set(found) == {"1", "2", "3", "4"}
    for key, name in zip(found, inputs, strict=True):
        expected = [f"{name} begins {number} and ends" for number in range(5)]
        assert on(found[key], "stdout") == [*expected, f"{name} in a thread", f"{name} in a pool"]
        assert records(found[key]) == [("warning", "shop.orders", f"{name} logs")]


def test_a_progress_bar_is_its_last_state(tmp_path: Path) -> None:
    """And one that has erased itself is nothing."""
    found = output(run(tmp_path, "prints:bar", ["a", "b"], "-w", "1", "--log-format", "json"))
    assert on(found["1"], "stderr", "stdout") == ["a 100 %"]
    assert on(found["2"], "stderr", "stdout") == ["b 100 %"]


def test_a_line_of_ten_megabytes_comes_in_parts(tmp_path: Path) -> None:
    size = 10_000_000
    lines = on(output(run(tmp_path, "prints:long_line", [size], "-w", "1", "--log-format", "json"))["1"], "stdout")
    assert "".join(lines[:-1]) == "x" * size
    assert lines[-1] == "behind it"


def test_a_hundred_thousand_lines(tmp_path: Path) -> None:
    """None is lost: who writes waits for who reads."""
    found = output(run(tmp_path, "prints:many_lines", [100_000], "-w", "1", "--log-format", "json"))
    assert on(found["1"], "stdout") == [str(number) for number in range(100_000)]


@pytest.mark.parametrize("name", ["forks", "redirects"])
def test_forks_and_files_in_the_place_of_a_descriptor(tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    found = output(run(tmp_path, f"prints:{name}", [str(file)], "-w", "1", "--log-format", "json"))
    if name == "forks":
        assert on(found["1"], "stdout") == [f"fork of {file}"]
        return
    assert file.read_text() == "into the file\n"
    assert on(found["1"], "stdout") == ["into the pipe"]


def test_the_last_words_of_a_process_have_a_key(tmp_path: Path) -> None:
    found = output(run(tmp_path, "prints:dies", ["a"], "-w", "1", "--log-format", "json", code=1))
    assert set(on(found["1"], "stdout")) == {"last words of a"}
    assert look(tmp_path / "j.db").statuses() == {"1": "failed"}

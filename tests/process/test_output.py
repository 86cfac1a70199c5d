"""What agents print, log and warn comes up as lines of their tasks."""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support.cli import Completed, run_cli, start_cli
from tests.support.sync import AnnouncementPipe, Gate


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


# -- kept in the journal -------------------------------------------------------------------------------------


def logs(tmp_path: Path, *options: str) -> list[str]:
    done = run_cli("logs", "-j", tmp_path / "j.db", *options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def test_the_journal_keeps_what_tasks_wrote(tmp_path: Path) -> None:
    """Of all tasks or of one; the last lines; as JSON with level and logger."""
    run(tmp_path, "prints:everything", ["a", "b"], "-w", "1")
    everything = logs(tmp_path)
    assert {line.partition(" |")[0] for line in everything} == {"1", "2"}
    assert "2 | printed b" in everything
    assert "2 | WARNING shop.orders: logged b" in everything
    of_one = logs(tmp_path, "--key", "1")
    assert of_one == [line for line in everything if line.startswith("1 | ")]
    assert len(logs(tmp_path, "--json", "--key", "1", "--tail", "2")) == 2
    last = logs(tmp_path, "--key", "1", "--tail", "1")
    assert last == of_one[-len(last) :]
    shown = run_cli("show", look(tmp_path / "j.db").record.run_id, "2", "-j", tmp_path / "j.db").stdout.splitlines()
    assert [line for line in shown if line.startswith("2 | ")] == logs(tmp_path, "--key", "2")
    (error,) = [event for line in logs(tmp_path, "--json") if (event := json.loads(line))["line"].startswith("said a")]
    assert (error["key"], error["seq"], error["level"], error["logger"]) == ("1", 1, "error", "quiesce.agent")
    assert error["at"].endswith("+00:00")


def test_the_journal_keeps_the_end_of_much_output(tmp_path: Path) -> None:
    """Of the size of --output-tail, or twice that; nothing for 0."""
    run(tmp_path, "prints:many_lines", [20_000, 3], "-w", "1", "--output-tail", "4096")
    kept = [int(line.partition(" | ")[2]) for line in logs(tmp_path, "--key", "1")]
    assert kept[-1] == 19_999
    assert kept == list(range(kept[0], 20_000))
    assert 50 < len(kept) < 1000
    assert logs(tmp_path, "--key", "2") == ["2 | 0", "2 | 1", "2 | 2"]
    (tmp_path / "j.db").unlink()
    run(tmp_path, "prints:many_lines", [3], "-w", "1", "--output-tail", "0")
    assert logs(tmp_path) == []


def test_output_is_followed_while_it_comes_and_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    """What was committed stays, also when the task runs again."""
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        source = jsonl(tmp_path / "in.jsonl", [{"post": post.path, "gate": gate.path}])
        words = ("run", agent("prints:waits"), "-i", source, "-w", "1", "-j", tmp_path / "j.db", "--grace", "0.2")
        with start_cli(*words, "--run-id", "r") as supervisor:
            post.expect()
            with start_cli("logs", "r", "--follow", "-j", tmp_path / "j.db") as follower:
                follower.expect(r"1 \| before the end", stream="stdout")
                supervisor.send(signal.SIGKILL)
                followed = follower.wait()
            supervisor.wait()
        assert followed.returncode == 0, followed
        assert "supervisor of run r is gone" in followed.stderr
        assert logs(tmp_path) == ["1 | before the end"]
        gate.open()
        done = run_cli("resume", "r", "-j", tmp_path / "j.db", timeout=60)
        assert done.returncode == 0, done
    assert logs(tmp_path) == ["1 | before the end", "1 | before the end", "1 | after it"]

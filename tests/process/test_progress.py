"""How far a run is: as lines in a pipe, live on a terminal."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.helpers import agent, jsonl
from tests.support.cli import QUIESCE, run_cli, start_cli
from tests.support.sync import Gate
from tests.support.tmux import Terminal
from tests.support.wait import wait_until

WORK = agent("reporting:work")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path / "gate") as opened:
        yield opened


def lines_of(stderr: str, event: str) -> list[dict[str, Any]]:
    """The log lines of one event, of a log in JSON."""
    found = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    return [fields for fields in found if fields["event"] == event]


def held(tmp_path: Path, gate: Gate, count: int = 2, **fields: Any) -> list[dict[str, Any]]:
    """Tasks that wait for the gate."""
    return [{"key": f"held-{number}", "gate": gate.path, **fields} for number in range(count)]


def test_a_pipe_gets_a_line_of_progress_every_interval(tmp_path: Path, gate: Gate) -> None:
    tasks = [{"key": f"quick-{number}"} for number in range(20)] + [{"key": "bad", "error": "no such page"}]
    source = jsonl(tmp_path / "in.jsonl", [*tasks, *held(tmp_path, gate)])
    words = ("run", WORK, "-i", source, "-j", tmp_path / "j.db", "-w", "3", "--progress-interval", "0.2")
    with start_cli(*words, "--retries", "1", "--log-format", "json") as running:
        running.expect(r'"done": 21.*"in_flight": 2.*run\.progress')
        gate.open()
        done = running.wait()
    assert done.returncode == 1, done
    shown = [line for line in lines_of(done.stderr, "run.progress") if line["done"] == 21][-1]
    assert (shown["total"], shown["failed"], shown["retried"]) == (23, 1, 1)
    assert shown["rate"] > 0
    assert shown["eta"] >= 0
    (failed,) = lines_of(done.stderr, "task.failed")
    assert (failed["key"], failed["error"], failed["attempts"]) == ("bad", "ValueError: no such page", 2)
    assert failed["level"] == "warning"


def test_a_short_run_has_no_line_of_progress(tmp_path: Path) -> None:
    done = run_cli("run", WORK, "-i", jsonl(tmp_path / "in.jsonl", [{"key": "a"}]), "-j", tmp_path / "j.db", "-w", "1")
    assert done.returncode == 0, done
    assert "run.progress" not in done.stderr


def test_without_progress_there_is_none(tmp_path: Path, gate: Gate) -> None:
    source = jsonl(tmp_path / "in.jsonl", held(tmp_path, gate, 1))
    words = ("run", WORK, "-i", source, "-j", tmp_path / "j.db", "-w", "1", "--progress-interval", "0.1")
    with start_cli(*words, "--progress", "off", "--timeout", "0.5", "--grace", "60") as running:
        running.expect(r"task\.interrupting")  # half a second later
        gate.open()
        done = running.wait()
    assert "run.progress" not in done.stderr


def test_many_failed_tasks_are_a_few_warnings(tmp_path: Path) -> None:
    tasks = [{"key": f"bad-{number}", "error": "no"} for number in range(500)]
    words = ("run", WORK, "-i", jsonl(tmp_path / "in.jsonl", tasks), "-j", tmp_path / "j.db", "-w", "2")
    done = run_cli(*words, "--log-format", "json")
    assert done.returncode == 1, done
    warned = lines_of(done.stderr, "task.failed")
    assert 10 <= len(warned) < 250
    assert warned[0]["key"].startswith("bad-")
    assert "more" not in warned[0]


def test_the_totals_are_those_of_the_whole_run_after_a_resume(tmp_path: Path, gate: Gate) -> None:
    tasks = [{"key": f"quick-{number}"} for number in range(5)] + [{"key": "bad", "error": "no"}]
    source, journal = jsonl(tmp_path / "in.jsonl", [*tasks, *held(tmp_path, gate)]), tmp_path / "j.db"
    common = ("-j", journal, "--progress-interval", "0.2", "--log-format", "json")
    with start_cli("run", WORK, "-i", source, "-w", "2", *common) as running:
        running.expect(r'"done": 6.*"in_flight": 2.*run\.progress')
        running.kill()
    with start_cli("resume", *common) as running:
        running.expect(r'"done": 6.*"in_flight": 2.*run\.progress')
        gate.open()
        done = running.wait()
    shown = lines_of(done.stderr, "run.progress")
    assert {(line["total"], line["failed"], line["retried"]) for line in shown} == {(8, 1, 0)}
    assert not lines_of(done.stderr, "task.failed"), "it was said at the first start"


@pytest.mark.parametrize(("columns", "rows"), [(120, 40), (80, 24), (40, 12)])
def test_a_terminal_of_any_size_shows_the_run(tmp_path: Path, gate: Gate, columns: int, rows: int) -> None:
    tasks = [*held(tmp_path, gate, 12, done=4, total=10), {"key": "bad", "error": "no such page"}]
    source = jsonl(tmp_path / "in.jsonl", [tasks[-1], *tasks[:-1]])
    words = [*QUIESCE, "run", WORK, "-i", source, "-j", tmp_path / "j.db", "-w", "10", "--run-id", "night"]
    (tmp_path / "command").write_text(shlex.join(map(str, words)))
    env = {"COLUMNS": "200", "LINES": "60"}  # of another terminal
    with Terminal(columns=columns, rows=rows, cwd=tmp_path, env=env) as terminal:
        terminal.run("clear; . ./command")
        terminal.expect(r"night .*1/13$", deadline=60, history=False)
        terminal.expect(r"1 failed", history=False)
        if columns > 40:
            terminal.expect(r"10 in flight", history=False)
            terminal.expect(r"^  executor \d+ \(\d+\): held-\d+  4/10  \d+\.\d s$", history=False)
        else:
            terminal.expect(r"^  \d: held-\d+  4/10  \d+\.\d s$", history=False)
        terminal.expect(r"^  \+\d+ more$", history=False)
        gate.open()
        terminal.expect(r"^run night: failed", deadline=60)
        screen = terminal.screen(history=True)
        assert "task.failed" in screen
        assert "more" not in screen.splitlines()[-1]


def test_a_slow_import_is_shown_on_a_terminal_and_in_a_pipe(tmp_path: Path, gate: Gate) -> None:
    (tmp_path / "agents.py").write_text(Path(WORK.partition(":")[0]).read_text())
    words = ["run", "agents.py:work", "-i", str(jsonl(tmp_path / "in.jsonl", [{"key": "a"}])), "-w", "1"]
    env = {"QM_SLOW_IMPORT": gate.path}
    (tmp_path / "command").write_text(shlex.join([*QUIESCE, *words, "-j", "terminal.db"]))
    with (
        Terminal(columns=80, rows=24, cwd=tmp_path, env=env) as terminal,
        start_cli(*words, "-j", "pipe.db", cwd=tmp_path, env=env) as running,
    ):
        terminal.run("clear; . ./command")
        terminal.expect(r"loading agents\.py:work, \d+ s", deadline=60, history=False)
        running.expect(r"agent\.loading +agent=agents\.py:work seconds=\d+", deadline=60)
        gate.open()
        assert terminal.status(deadline=60) == 0
        assert running.wait().returncode == 0


def test_the_status_of_a_living_run_has_its_rate_and_what_is_in_flight(tmp_path: Path, gate: Gate) -> None:
    tasks = [{"key": f"quick-{number}"} for number in range(5)] + [{"key": "bad", "error": "no"}]
    source = jsonl(tmp_path / "in.jsonl", [*tasks, *held(tmp_path, gate, done=4, total=10)])
    journal = tmp_path / "j.db"

    def status() -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(run_cli("status", "-j", journal, "--json").stdout)
        return shown

    with start_cli("run", WORK, "-i", source, "-j", journal, "-w", "2") as running:
        running.expect(r"task\.failed")
        wait_until(lambda: (status()["progress"] or {}).get("in_flight") == 2, 60, "a report of both tasks")
        progress = status()["progress"]
        lines = run_cli("status", "-j", journal).stdout
        gate.open()
        assert running.wait().returncode == 1
    assert (progress["done"], progress["total"], progress["failed"]) == (6, 8, 1)
    assert progress["rate"] > 0
    assert progress["eta"] > 0
    shown = [task for executor in progress["executors"] for task in executor["tasks"]]
    assert sorted((task["key"], task["done"], task["total"]) for task in shown) == [
        ("held-0", 4, 10),
        ("held-1", 4, 10),
    ]
    assert all(task["seconds"] >= 0 for task in shown)
    assert re.search(r"^progress   .*/.* · ETA .* · 1 failed · 2 in flight$", lines, re.MULTILINE), lines
    assert re.search(r"^  executor 0 \(\d+\): held-\d  4/10  ", lines, re.MULTILINE), lines
    assert status()["progress"] is None


def test_the_status_of_a_run_that_stops_says_what_it_waits_for(tmp_path: Path, gate: Gate) -> None:
    """Newly reported during the stop, with the ages of that time."""
    source = jsonl(tmp_path / "in.jsonl", [{"key": "a", "deaf": gate.path}])
    journal = tmp_path / "j.db"

    def status() -> dict[str, Any]:
        said = run_cli("status", "-j", journal, "--json").stdout  # nothing before there is a journal
        shown: dict[str, Any] = (json.loads(said)["progress"] if said else None) or {}
        return shown

    with start_cli("run", WORK, "-i", source, "-j", journal, "-w", "1", "--grace", "1h") as running:
        wait_until(lambda: status().get("in_flight") == 1, 60, "a report")
        assert status()["stopping"] is None
        running.send(signal.SIGTERM)
        wait_until(lambda: status().get("stopping"), 60, "a report of the stop")
        first = status()
        wait_until(lambda: status()["at"] > first["at"], 60, "another report")
        lines = run_cli("status", "-j", journal).stdout
        gate.open()
        assert running.wait().returncode == -signal.SIGTERM
    assert re.fullmatch(r"received SIGTERM; waiting for 1 executor, SIGTERM in 3\d\d\d s", first["stopping"])
    assert re.search(
        r"^stop       received SIGTERM; waiting for 1 executor, SIGTERM in 3\d\d\d s$", lines, re.MULTILINE
    )
    assert [task["key"] for executor in first["executors"] for task in executor["tasks"]] == ["a"]
    assert status() == {}


def test_a_supervisor_that_was_killed_has_no_progress(tmp_path: Path, gate: Gate) -> None:
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", held(tmp_path, gate, 1))
    with start_cli("run", WORK, "-i", source, "-j", journal, "-w", "1") as running:
        wait_until(lambda: "in flight" in run_cli("status", "-j", journal).stdout, 60, "a report")
        running.kill()
    assert "in flight" not in run_cli("status", "-j", journal).stdout

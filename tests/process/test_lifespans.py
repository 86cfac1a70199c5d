"""Set-up once per executor: lifespans and initializers, how they fail, and that no stop waits for them."""

from __future__ import annotations

import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from runtime import ExecutionState
from runtime.agents import agent as mark
from tests.process.agents import lifespans
from tests.process.helpers import agent, jsonl, look, runs_in
from tests.support.cli import Completed, run_cli, start_cli
from tests.support.sync import AnnouncementPipe

EXECUTION = [("sync_in_sync", ["first", "second"]), ("async_in_sync", ["first"])]
EXECUTION += [("sync_in_async", ["first", "second"]), ("async_in_async", ["second"])]


def quiet(*_: Any) -> None:
    """A log that is not looked at."""


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ledger"
    path.touch()
    monkeypatch.setenv("QM_LEDGER", str(path))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "in.jsonl", [{"key": f"k{n}", "n": n} for n in range(4)])


def notes(ledger: Path) -> list[list[str]]:
    """What each executor has written down, in order."""
    by_pid: dict[str, list[str]] = defaultdict(list)
    for line in ledger.read_text().splitlines():
        pid, _, what = line.partition(" ")
        by_pid[pid].append(what)
    return list(by_pid.values())


@pytest.mark.parametrize(("name", "initializers"), EXECUTION)
def test_each_executor_is_set_up_once(
    tmp_path: Path, ledger: Path, source: Path, name: str, initializers: list[str]
) -> None:
    journal = tmp_path / "j.db"
    done = run_cli("run", agent(f"lifespans:{name}"), "-i", source, "-w", "2", "-j", journal)
    assert done.returncode == 0, done
    assert look(journal).values == {f"k{n}": ["model"] for n in range(4)}
    assert "failed at its end" not in done.stderr
    seen = [lines for lines in notes(ledger) if any(line.startswith("task") for line in lines)]
    assert seen
    for lines in seen:
        before = [*initializers, "enter"]
        assert lines[: len(before)] == before
        assert lines[-1] == "leave"
        assert all(line.startswith("task k") for line in lines[len(before) : -1])


@pytest.mark.parametrize("name", ["sync_in_sync", "async_in_async"])
def test_an_executor_that_is_replaced_leaves_its_lifespan(
    tmp_path: Path, ledger: Path, source: Path, name: str
) -> None:
    words = ("-w", "1", "-j", tmp_path / "j.db", "--max-tasks-per-executor", "2")
    done = run_cli("run", agent(f"lifespans:{name}"), "-i", source, *words)
    assert done.returncode == 0, done
    with_tasks = [lines for lines in notes(ledger) if any(line.startswith("task") for line in lines)]
    assert len(with_tasks) == 2
    assert all(lines.count("enter") == lines.count("leave") == 1 for lines in with_tasks)


@pytest.mark.parametrize("name", ["waits", "awaits"])
def test_a_stop_leaves_the_lifespan(tmp_path: Path, ledger: Path, source: Path, name: str) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        words = ("-w", "1", "-j", str(tmp_path / "j.db"), "--grace", "600")
        env = {"QM_POST": post.path}
        with start_cli("run", agent(f"lifespans:{name}"), "-i", str(source), *words, env=env) as running:
            post.expect()
            running.send(signal.SIGTERM)
            done = running.wait(80)
    assert done.returncode == -signal.SIGTERM, done
    assert notes(ledger) == [["enter", "leave"]]
    assert "rung=TERM" not in done.stderr


# -- failures ---------------------------------------------------------------------------------------------


def refused(done: Completed) -> str:
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "broken",
            ["cannot set up broken", "its lifespan broken_model raised FileNotFoundError: no weights in /models"],
        ),
        ("async_broken", ["cannot set up async_broken", "its lifespan broken_async_model raised FileNotFoundError"]),
        ("no_manager", ["its lifespan no_model raised TypeError", "type str", "not a context manager"]),
        ("badly_initialized", ["its initializer bad_initializer raised SystemExit: no licence"]),
    ],
)
def test_a_set_up_that_fails_ends_the_run_with_one_line(
    tmp_path: Path, ledger: Path, source: Path, name: str, words: list[str]
) -> None:
    done = run_cli("run", agent(f"lifespans:{name}"), "-i", source, "-w", "2", "-j", tmp_path / "j.db")
    line = refused(done)
    for word in words:
        assert word in line, done
    assert runs_in(tmp_path / "j.db") == 0


def test_the_line_names_the_frames_of_the_users_files_alone(tmp_path: Path, ledger: Path, source: Path) -> None:
    line = refused(run_cli("run", agent("lifespans:async_broken"), "-i", source, "-w", "1", "-j", tmp_path / "j.db"))
    *_, places = line.rpartition(" (")
    names = [place.rpartition(" in ")[2] for place in places.removesuffix(")").split(", ")]
    assert names == ["broken_async_model", "_load"]
    assert places.count("lifespans.py:") == 2


def test_where_it_fails_later_the_executor_is_replaced(tmp_path: Path, ledger: Path, source: Path) -> None:
    journal = tmp_path / "j.db"
    words = ("-w", "1", "-j", journal, "--max-tasks-per-executor", "2", "--json")
    done = run_cli("run", agent("lifespans:unlucky"), "-i", source, *words)
    assert done.returncode == 0, done
    seen = look(journal)
    assert len(set(seen.values.values())) == 2
    reasons = [data.get("reason") for data in seen.named("executor.exited")]
    assert any("its lifespan fails_the_second_time raised OSError: the device is busy" in str(why) for why in reasons)
    assert all(outcome.attempts == 1 for outcome in seen.outcomes.values())


def test_an_end_that_fails_is_reported_and_costs_nothing(tmp_path: Path, ledger: Path, source: Path) -> None:
    done = run_cli("run", agent("lifespans:ends_badly"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
    assert done.returncode == 0, done
    assert "the lifespan failing_end failed at its end: OSError: cannot close the device" in done.stderr


# -- stops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slow", "async_slow", "async_deaf"])
def test_an_interrupt_ends_a_set_up(tmp_path: Path, ledger: Path, source: Path, name: str) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        words = ("-w", "1", "-j", str(tmp_path / "j.db"), "--grace", "600")
        env = {"QM_POST": post.path}
        with start_cli("run", agent(f"lifespans:{name}"), "-i", str(source), *words, env=env) as running:
            post.expect()
            running.send(signal.SIGTERM)
            done = running.wait(80)
    assert done.returncode == -signal.SIGTERM, done
    assert notes(ledger) == [["undone"]]


@pytest.mark.parametrize("name", ["ends_never", "async_ends_never"])
def test_the_ladder_bounds_the_end_of_a_lifespan(tmp_path: Path, ledger: Path, source: Path, name: str) -> None:
    journal = tmp_path / "j.db"
    words = ("-w", "1", "-j", journal, "--grace", "0.5", "--term-grace", "30")
    done = run_cli("run", agent(f"lifespans:{name}"), "-i", source, *words)
    assert done.returncode == 0, done
    assert len(look(journal).values) == 4
    assert notes(ledger) == [["leaving", "interrupted"]]
    assert "was interrupted at its end" in done.stderr


# -- from Python ------------------------------------------------------------------------------------------


@mark(lifespan=lifespans.sync_model)
def one(task_input: Any, state: ExecutionState) -> Any:
    return state.resource


@mark(lifespan=lifespans.sync_model)
def other(task_input: Any, state: ExecutionState) -> Any:
    return state.resource


def test_agents_of_one_lifespan_share_its_resource(ledger: Path) -> None:
    with Supervisor(workers=1, log=quiet) as supervisor:
        values = [outcome.value for chosen in (one, other) for outcome in supervisor.map(chosen, [1, 2])]
    assert values == [["model"]] * 4
    assert notes(ledger) == [["enter", "leave"]]


def test_a_lifespan_is_left_when_its_agent_is_dropped(ledger: Path) -> None:
    """Large agents are dropped beyond 16 MiB, and set up again when they are needed again."""

    def make(number: int) -> Any:
        weight = bytes([number]) * (12 << 20)

        @mark(lifespan=lifespans.sync_model)
        def large(task_input: Any, state: ExecutionState) -> Any:
            lifespans.note(f"task of {weight[0]}")
            return state.resource

        return large

    with Supervisor(workers=1, log=quiet) as supervisor:
        for number in (1, 2, 3):
            assert supervisor.submit(make(number), 0).result() == ["model"]
    (lines,) = notes(ledger)
    assert lines.count("enter") == lines.count("leave")
    assert lines[0] == "enter"
    assert lines[-1] == "leave"

"""No work behind the record: a task is over when its threads are, and work left on purpose is done before the end."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from orchestrator.outcome import Outcome
from tests.process.agents import threads
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import Completed, run_cli, start_cli
from tests.support.sync import AnnouncementPipe

ROUNDS = 6
"""Seeds of each kind of thread; a soak runs more."""


def effects(path: Path) -> list[tuple[float, str, int, str]]:
    """The side effects in the order of the file: time, key, attempt, what."""
    found = [re.fullmatch(r"(\S+) (\S+) (\d+) (.+)", line) for line in path.read_text().splitlines()]
    return [(float(one[1]), one[2], int(one[3]), one[4]) for one in found if one is not None]


def assert_never_two_at_once(path: Path, key: str) -> None:
    """AttemptPolicy follow each other: none has an effect after the next one's first."""
    attempts = [attempt for _, of, attempt, _ in effects(path) if of == key]
    assert all(before <= after for before, after in pairwise(attempts)), attempts


def assert_nothing_after_its_record(path: Path, delivered: dict[str, float], key: str) -> None:
    """By one host's clock: a task reported as over has no effect any more."""
    late = [(at - delivered[key], attempt, what) for at, of, attempt, what in effects(path) if of == key]
    assert [effect for effect in late if effect[0] > 0] == []


def run_supervised(
    tmp_path: Path, work: Callable[..., Any], tasks: list[dict[str, Any]], **settings: Any
) -> tuple[dict[str, Outcome[Any]], dict[str, float], list[tuple[str, Any]]]:
    """Run an agent: outcomes, when each was handed over (Unix seconds), and the log."""
    log: list[tuple[str, Any]] = []
    outcomes, delivered = {}, {}
    lines = [{"marks": str(tmp_path / "marks"), **task} for task in tasks]
    with Supervisor(log=lambda name, _, fields: log.append((name, fields)), **settings) as supervisor:
        for outcome in supervisor.map_unordered(work, lines):
            delivered[outcome.key] = time.time()
            outcomes[outcome.key] = outcome
    return outcomes, delivered, log


def run_agent(tmp_path: Path, name: str, tasks: list[dict[str, Any]], *options: str) -> Completed:
    """A run of an agent in threads.py; its journal is j.db, its side effects are in `marks`."""
    lines = [{"marks": str(tmp_path / "marks"), "folder": str(tmp_path), **task} for task in tasks]
    source = jsonl(tmp_path / "in.jsonl", lines)
    return run_cli("run", agent(f"threads:{name}"), "-i", source, "-j", tmp_path / "j.db", *options)


# -- threads of a task that has ended ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["to_thread", "pool", "anyio", "context"])
def test_a_task_whose_thread_works_on_is_not_tried_again_before_it_has_ended(tmp_path: Path, how: str) -> None:
    tasks = [{"key": f"a{number}", "how": how, "steps": 30 + 3 * number} for number in range(ROUNDS)]
    outcomes, delivered, log = run_supervised(
        tmp_path, threads.leaves_a_thread, tasks, workers=1, concurrency=2, timeout=0.3, retries=1, grace=20
    )
    for key, outcome in outcomes.items():
        assert_never_two_at_once(tmp_path / "marks", key)
        assert_nothing_after_its_record(tmp_path / "marks", delivered, key)
        ends = [attempt for _, of, attempt, what in effects(tmp_path / "marks") if (of, what) == (key, "finally")]
        assert ends == [1, 2]
        assert (outcome.attempts, outcome.error) == (2, "timeout: the task took longer than 0.3 s")
    assert [name for name, _ in log].count("task.threads_left") == 2 * ROUNDS


@pytest.mark.parametrize("how", ["thread", "daemon", "nested", "pool"])
def test_a_sync_agents_threads_are_its_own_too(tmp_path: Path, how: str) -> None:
    tasks = [{"key": f"a{number}", "how": how, "steps": 5 + number} for number in range(ROUNDS)]
    outcomes, delivered, _ = run_supervised(tmp_path, threads.starts_threads, tasks, workers=2, retries=1, grace=20)
    for key, outcome in outcomes.items():
        assert_never_two_at_once(tmp_path / "marks", key)
        assert_nothing_after_its_record(tmp_path / "marks", delivered, key)
        assert (outcome.attempts, outcome.error) == (2, "ValueError: no")


def test_threads_of_libraries_are_nobodys(tmp_path: Path) -> None:
    """An idle pool and a heartbeat were there before: tasks that fail beside them end at once, in one executor."""
    done = run_agent(tmp_path, "fails", [{"key": f"a{number}"} for number in range(20)], "-w", "1")
    assert done.returncode == 1, done
    seen = look(tmp_path / "j.db")
    assert seen.named("task.threads_left") == []
    assert [event["executed"] for event in seen.named("executor.exited")] == [20]


def test_a_thread_that_looks_at_its_state_ends_within_the_grace_and_its_executor_lives_on(tmp_path: Path) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        tasks: list[dict[str, Any]] = [{"key": "a", "how": "cooperative", "post": post.path}]
        tasks += [{"key": "b", "how": "innocent", "seconds": 0}]
        done = run_agent(tmp_path, "leaves_a_thread", tasks, "-w", "1", "--timeout", "0.5", "--grace", "20")
    assert done.returncode == 1, done
    assert "a heard" in (tmp_path / "marks").read_text()
    seen = look(tmp_path / "j.db")
    assert seen.statuses() == {"a": "failed", "b": "completed"}
    assert {event["incarnation"] for event in seen.named("executor.started")} == {1}
    assert [rung["rung"] for rung in seen.named("ladder.rung")] == []


def test_the_term_rung_raises_in_a_thread_that_hears_nothing_and_its_finally_runs(tmp_path: Path) -> None:
    task = {"key": "a", "steps": 10_000}
    options = ("-w", "1", "--timeout", "0.3", "--grace", "0.3", "--term-grace", "20")
    done = run_agent(tmp_path, "leaves_a_thread", [task, {"key": "b", "how": "innocent", "seconds": 0}], *options)
    assert done.returncode == 1, done
    assert [what for *_, what in effects(tmp_path / "marks")][-1] == "finally"
    seen = look(tmp_path / "j.db")
    assert seen.statuses() == {"a": "failed", "b": "completed"}
    assert [rung["rung"] for rung in seen.named("ladder.rung")] == ["TERM"]
    assert seen.named("executor.exited")[0]["exit"] == "exit code 0"


def test_a_thread_that_cannot_be_reached_costs_both_graces_and_no_innocent_anything(tmp_path: Path) -> None:
    tasks = [
        {"key": "a", "steps": 1, "pause": 60},
        {"key": "b", "how": "innocent", "seconds": 1.2},
        {"key": "c", "how": "innocent", "seconds": 0},
    ]
    options = ("-w", "1", "--concurrency", "2", "--timeout", "4", "--grace", "0.5", "--term-grace", "0.5")
    done = run_agent(tmp_path, "leaves_a_thread", tasks, *options)
    assert done.returncode == 1, done
    assert done.seconds < 30
    seen = look(tmp_path / "j.db")
    assert seen.statuses() == {"a": "failed", "b": "completed", "c": "completed"}
    assert [rung["rung"] for rung in seen.named("ladder.rung")] == ["TERM", "KILL"]
    assert {outcome.attempts for outcome in seen.outcomes.values()} == {1}


@pytest.mark.parametrize("how", ["to_thread", "pool"])
def test_a_stop_does_not_cost_the_whole_ladder_where_the_thread_can_be_ended(tmp_path: Path, how: str) -> None:
    task = {"key": "a", "how": how, "steps": 10_000, "marks": str(tmp_path / "marks")}
    source = jsonl(tmp_path / "in.jsonl", [task])
    options = ("-w", "1", "--grace", "0.5", "--term-grace", "20", "-j", str(tmp_path / "j.db"))
    with start_cli("run", agent("threads:leaves_a_thread"), "-i", source, *options) as run:
        run.expect("executor.started")
        while not (tmp_path / "marks").exists():
            run.expect("executor.started")
        run.send(signal.SIGTERM)
        done = run.wait()
    assert done.signal is signal.SIGTERM
    seen = look(tmp_path / "j.db")
    assert seen.statuses() == {"a": "interrupted"}
    assert [rung["rung"] for rung in seen.named("ladder.rung")] == ["FLAG", "TERM"]
    assert [what for *_, what in effects(tmp_path / "marks")][-1] == "finally"


def test_an_agent_that_waits_for_its_own_threads_ends_on_the_term_rung(tmp_path: Path) -> None:
    """The exception in its main thread only leads to the pool's `with`, which waits for the thread."""
    with AnnouncementPipe(tmp_path / "post") as post:
        task = {"key": "a", "steps": 10_000, "post": post.path}
        options = ("-w", "1", "--timeout", "0.3", "--grace", "0.3", "--term-grace", "20")
        done = run_agent(tmp_path, "waits", [task], *options)
    assert done.returncode == 1, done
    assert [what for *_, what in effects(tmp_path / "marks")][-1] == "finally"
    assert [rung["rung"] for rung in look(tmp_path / "j.db").named("ladder.rung")] == ["TERM"]


# -- work that is left on purpose -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["pool", "thread"])
def test_work_that_an_agent_leaves_in_threads_is_done_before_the_executor_ends(tmp_path: Path, how: str) -> None:
    tasks = [{"key": f"k{number}", "how": how} for number in range(8)]
    done = run_agent(tmp_path, "leaves_work", tasks, "-w", "2")
    assert done.returncode == 0, done
    assert sorted(path.name for path in tmp_path.glob("k*")) == [task["key"] for task in tasks]


def test_work_that_an_async_agent_leaves_in_a_pool_is_done_too(tmp_path: Path) -> None:
    tasks = [{"key": f"k{number}"} for number in range(8)]
    done = run_agent(tmp_path, "leaves_async_work", tasks, "-w", "2", "--concurrency", "4")
    assert done.returncode == 0, done
    assert sorted(path.name for path in tmp_path.glob("k*")) == [task["key"] for task in tasks]


def test_threads_that_delay_the_end_are_named_and_the_ladder_bounds_them(tmp_path: Path) -> None:
    options = ("-w", "1", "--grace", "2", "--term-grace", "20")
    done = run_agent(tmp_path, "leaves_work", [{"key": "a", "how": "long"}], *options)
    assert done.returncode == 0, done
    seen = look(tmp_path / "j.db")
    (delayed,) = seen.named("executor.delayed")
    assert delayed["threads"] == ["writer"]
    assert "_write_later" in delayed["stack"]
    assert [rung["rung"] for rung in seen.named("ladder.rung")] == ["TERM"]
    assert [event["exit"] for event in seen.named("executor.exited")] == ["exit code 0"]


def test_a_process_pool_that_is_kept_open_does_not_hold_up_the_end(tmp_path: Path) -> None:
    tasks = [{"key": f"k{number}", "n": -number} for number in range(2)]
    done = run_agent(tmp_path, "keeps_a_pool", tasks, "-w", "2")
    assert done.returncode == 0, done
    seen = look(tmp_path / "j.db")
    assert seen.values == {"k0": 0, "k1": 1}
    assert seen.named("ladder.rung") == []
    exits = seen.named("executor.exited")
    assert [event["exit"] for event in exits] == ["exit code 0"] * len(exits)
    used = sum(1 for event in exits if event["executed"])
    assert len(list(tmp_path.glob("atexit *"))) == used


# -- neighbours -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_child", [False, True])
def test_only_the_task_that_holds_the_event_loop_pays_for_its_time(in_child: bool) -> None:
    log: list[tuple[str, Any]] = []
    tasks: list[dict[str, Any]] = [{"key": "bad", "blocks": 4, "in_child": in_child}]
    tasks += [{"key": f"i{number}", "seconds": 0.3} for number in range(3)]
    with Supervisor(
        workers=1, concurrency=4, timeout=1.5, log=lambda name, _, fields: log.append((name, fields))
    ) as supervisor:
        outcomes = {outcome.key: outcome for outcome in supervisor.map(threads.blocks, tasks)}
    assert {key: outcome.value for key, outcome in outcomes.items() if key != "bad"} == dict.fromkeys(
        ["i0", "i1", "i2"], "waited"
    )
    assert outcomes["bad"].error == "timeout: the task took longer than 1.5 s"
    assert [fields["key"] for name, fields in log if name == "task.interrupting"] == ["bad"]


def test_who_is_killed_beside_one_that_holds_the_loop_runs_again_at_no_cost() -> None:
    tasks: list[dict[str, Any]] = [{"key": "bad", "blocks": 60}]
    tasks += [{"key": f"i{number}", "seconds": 0.3} for number in range(3)]
    with Supervisor(workers=1, concurrency=4, timeout=1.5, grace=0.3, term_grace=0, log=lambda *_: None) as supervisor:
        outcomes = {outcome.key: outcome for outcome in supervisor.map(threads.blocks, tasks)}
    assert not outcomes.pop("bad").ok
    assert {key: outcome.value for key, outcome in outcomes.items()} == dict.fromkeys(outcomes, "waited")
    assert len(outcomes) == 3
    assert {outcome.attempts for outcome in outcomes.values()} == {1}


def test_of_those_that_share_an_executor_only_the_one_that_is_too_large_alone_has_failed() -> None:
    tasks: list[dict[str, Any]] = [{"key": "bad", "bytes": 300 << 20}]
    tasks += [{"key": f"i{number}", "seconds": 3} for number in range(3)]
    with Supervisor(workers=1, concurrency=4, memory_limit=150 << 20, term_grace=1, log=lambda *_: None) as supervisor:
        outcomes = {outcome.key: outcome for outcome in supervisor.map(threads.hoards, tasks)}
    assert "resource_limit" in str(outcomes["bad"].error)
    assert {key: outcome.value for key, outcome in outcomes.items() if key != "bad"} == dict.fromkeys(
        ["i0", "i1", "i2"], "small"
    )
    assert {outcome.attempts for outcome in outcomes.values()} == {1}

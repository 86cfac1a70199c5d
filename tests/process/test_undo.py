"""Undo records: whatever ends a task, executor, supervisor or guardian, each resource is removed, and once."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.core.undo_records import UndoRecord, UndoState
from orchestrator.journal import open_journal
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import QUIESCE, Running, run_cli
from tests.support.stub_engine import StubEngine
from tests.support.sync import AnnouncementPipe
from tests.support.wait import wait_until


@pytest.fixture
def engine(tmp_path: Path) -> StubEngine:
    return StubEngine(tmp_path / "engine")


@pytest.fixture
def post(tmp_path: Path) -> Iterator[AnnouncementPipe]:
    with AnnouncementPipe(tmp_path / "post") as pipe:
        yield pipe


@contextmanager
def begun(
    tmp_path: Path, engine: StubEngine, post: AnnouncementPipe, *options: str, name: str = "once", **task: Any
) -> Iterator[tuple[Running, int]]:
    """A run of one task whose resources exist, and the executor's pid."""
    place = {"engine": str(engine.path), "post": post.path, "first": str(tmp_path / "first"), **task}
    words = ["run", agent(f"external:{name}"), "-i", str(jsonl(tmp_path / "in.jsonl", [place])), "-w", "1"]
    graces = ["--grace", "20", "--term-grace", "5"]
    with Running([*QUIESCE, *words, "-j", str(tmp_path / "j.db"), "--run-id", "r", *graces, *options]) as running:
        yield running, int(post.expect()[0])


def undo_of(tmp_path: Path) -> list[UndoRecord]:
    with open_journal(tmp_path / "j.db", "read") as journal:
        return journal.undo_records(journal.get_run("r").id)


def is_each_removed_once(engine: StubEngine) -> bool:
    return not engine.things and set(engine.removals().values()) == {1}


def assert_removed_as_often_as_made(engine: StubEngine) -> None:
    """A task that runs again at no cost makes things of the same names."""
    assert not engine.things
    for name, count in engine.removals().items():
        assert count == engine.calls[f"run {name}"], engine.calls


def guardian_of(running: Running) -> psutil.Process:
    (guardian,) = psutil.Process(running.pid).children()
    return guardian


def resumed(tmp_path: Path) -> None:
    done = run_cli("resume", "r", "-j", tmp_path / "j.db")
    assert done.returncode == 0, done


# -- kills ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["once", "once_async"])
def test_a_killed_executor(tmp_path: Path, engine: StubEngine, post: AnnouncementPipe, name: str) -> None:
    with begun(tmp_path, engine, post, name=name) as (running, executor):
        psutil.Process(executor).kill()
        ended = running.wait()
    assert is_each_removed_once(engine), (engine.calls, ended)
    assert len(engine.made()) == 4
    assert {record.state for record in undo_of(tmp_path)} == {UndoState.UNDONE}


def test_a_killed_supervisor_has_an_heir_and_the_resume_knows_it(
    tmp_path: Path, engine: StubEngine, post: AnnouncementPipe
) -> None:
    with begun(tmp_path, engine, post) as (running, _):
        guardian = guardian_of(running)
        running.send(signal.SIGKILL)
        running.popen.wait()
        wait_until(lambda: not guardian.is_running(), what="the end of the heir")
        assert is_each_removed_once(engine), engine.calls
        assert {(record.state, record.tries) for record in undo_of(tmp_path)} == {(UndoState.UNDONE, 1)}
    resumed(tmp_path)
    assert not look(tmp_path / "j.db").named("undo.recalled")
    assert_removed_as_often_as_made(engine)


def test_a_killed_guardian(tmp_path: Path, engine: StubEngine, post: AnnouncementPipe) -> None:
    with begun(tmp_path, engine, post) as (running, _):
        guardian_of(running).kill()
        ended = running.wait()
    assert ended.returncode == 0, ended
    assert_removed_as_often_as_made(engine)
    assert set(engine.removals().values()) == {2}
    assert {record.state for record in undo_of(tmp_path)} == {UndoState.UNDONE}


@pytest.mark.parametrize("cure", ["resume", "clean"])
def test_all_three_killed(tmp_path: Path, engine: StubEngine, post: AnnouncementPipe, cure: str) -> None:
    """Nothing of the run lives, so nothing is undone until the next start."""
    with begun(tmp_path, engine, post) as (running, executor):
        guardian = guardian_of(running)
        family = [*guardian.children(recursive=True), guardian]
        running.send(signal.SIGSTOP)
        for process in family:
            process.kill()
        running.send(signal.SIGKILL)
        running.popen.wait()
        wait_until(lambda: not psutil.pid_exists(executor), what="the end of the executor")
    assert len(engine.things) == 2
    assert {record.state for record in undo_of(tmp_path)} == {UndoState.HELD}
    if cure == "resume":
        resumed(tmp_path)
        recalled = look(tmp_path / "j.db").named("undo.recalled")
        assert [event["number"] for event in recalled] == [1, 2]
    else:
        done = run_cli("clean", "r", "-j", tmp_path / "j.db")
        assert done.returncode == 0, done
        assert "2 undone, 0 outstanding" in done.stdout
    assert_removed_as_often_as_made(engine)
    assert {record.state for record in undo_of(tmp_path)} == {UndoState.UNDONE}


def test_a_killed_supervisor_of_a_run_without_a_journal(
    tmp_path: Path, engine: StubEngine, post: AnnouncementPipe
) -> None:
    """The guardian has the records all the same."""
    program = tmp_path / "program.py"
    place = {"engine": str(engine.path), "post": post.path, "first": str(tmp_path / "first")}
    program.write_text(
        "from quiesce import Supervisor\n"
        "from tests.process.agents.external import once\n"
        "if __name__ == '__main__':\n"
        "    with Supervisor(workers=1, grace=20) as supervisor:\n"
        f"        print([outcome.ok for outcome in supervisor.map(once, [{place!r}])])\n"
    )
    with Running([sys.executable, str(program)], env={"PYTHONPATH": "."}) as running:
        post.expect()
        guardian = guardian_of(running)
        running.send(signal.SIGKILL)
        running.popen.wait()
        wait_until(lambda: not guardian.is_running(), what="the end of the heir")
    assert is_each_removed_once(engine), engine.calls
    assert len(engine.made()) == 2


# -- ends of tasks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "how", "status"),
    [
        ((), "done", "completed"),
        ((), "fail", "failed"),
        (("--timeout", "0.3"), "wait", "failed"),
        (("--timeout", "0.3", "--timeout-grace", "0.1", "--term-grace", "0.1"), "deaf", "failed"),
        (("--retries", "1"), "fail", "completed"),
    ],
    ids=["done", "failed", "timeout", "timeout and SIGKILL", "retried"],
)
def test_the_end_of_a_task(
    tmp_path: Path, engine: StubEngine, post: AnnouncementPipe, options: tuple[str, ...], how: str, status: str
) -> None:
    with begun(tmp_path, engine, post, *options, how=how) as (running, _):
        ended = running.wait()
    assert look(tmp_path / "j.db").statuses() == {"1": status}, ended
    assert is_each_removed_once(engine), (engine.calls, ended)
    (verified,) = look(tmp_path / "j.db").named("cleanup.verified")
    assert verified["undone"] == len(engine.made()) == (4 if "--retries" in options else 2)
    assert verified["undo_outstanding"] == 0


@pytest.mark.parametrize("how", ["wait", "deaf"])
def test_a_stop(tmp_path: Path, engine: StubEngine, post: AnnouncementPipe, how: str) -> None:
    """A task that ends by itself, and one whose executor is killed: the undo runs after the KILL rung."""
    graces = ("--grace", "0.3", "--term-grace", "0.2") if how == "deaf" else ()
    with begun(tmp_path, engine, post, *graces, how=how) as (running, _):
        running.send(signal.SIGTERM)
        ended = running.wait()
    if undo_of(tmp_path)[-1].is_outstanding:  # a busy machine: the stop had no time for it
        assert look(tmp_path / "j.db").named("undo.outstanding"), ended
        assert run_cli("clean", "r", "-j", tmp_path / "j.db").returncode == 0
    assert not engine.things
    assert is_each_removed_once(engine), (engine.calls, ended)


def test_a_task_that_is_cancelled_by_its_key(tmp_path: Path, engine: StubEngine, post: AnnouncementPipe) -> None:
    with begun(tmp_path, engine, post) as (running, _):
        asked = run_cli("interrupt", "r", "--task", "1", "-j", tmp_path / "j.db")
        assert asked.returncode == 0, asked
        running.wait()
    assert is_each_removed_once(engine), engine.calls


def test_the_record_is_in_the_journal_before_the_resource_is_made(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"journal": str(tmp_path / "j.db")}])
    done = run_cli("run", agent("external:looks_into_the_journal"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
    assert done.returncode == 0, done
    assert look(tmp_path / "j.db").values == {"1": [["1", "held", "thing", "it", '["true"]']]}


def test_what_is_kept_is_struck_out_and_stays(tmp_path: Path, engine: StubEngine) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"engine": str(engine.path)}])
    words = ("-i", source, "-w", "1", "-j", tmp_path / "j.db", "--run-id", "r")
    done = run_cli("run", agent("external:keeps"), *words)
    assert done.returncode == 0, done
    assert engine.things == ["q-r-1-1-1"]
    assert [record.state for record in undo_of(tmp_path)] == [UndoState.KEPT, UndoState.UNDONE]
    assert run_cli("clean", "r", "-j", tmp_path / "j.db").returncode == 0
    assert engine.things == ["q-r-1-1-1"]


# -- commands that do not succeed ----------------------------------------------------------------------------


def test_nothing_to_remove_counts_as_done_and_a_missing_program_does_not(tmp_path: Path, engine: StubEngine) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"engine": str(engine.path)}])
    words = ("-i", source, "-w", "1", "-j", tmp_path / "j.db", "--run-id", "r")
    done = run_cli("run", agent("external:makes_nothing"), *words)
    assert done.returncode == 0, done  # the task has completed
    absent, missing = undo_of(tmp_path)
    assert (absent.state, absent.tries) == (UndoState.ABSENT, 1)
    assert (missing.state, missing.tries) == (UndoState.HELD, 3)
    assert missing.error is not None
    assert "cannot start /no/such/program" in missing.error
    seen = look(tmp_path / "j.db")
    assert [event["retry_in"] for event in seen.named("undo.failed")] == [1.0, 2.0, 4.0]
    assert seen.named("undo.outstanding")[0]["commands"] == ["/no/such/program rm"]
    assert seen.named("cleanup.verified")[0]["undo_outstanding"] == 1
    assert engine.calls["absent nothing"] == 1


def test_a_broken_command_is_tried_again_until_it_succeeds(
    tmp_path: Path, engine: StubEngine, post: AnnouncementPipe
) -> None:
    engine.set("broken")
    with begun(tmp_path, engine, post, how="fail") as (running, _):
        running.expect(r"undo\.failed.*")
        engine.set("broken", on=False)
        ended = running.wait()
    assert is_each_removed_once(engine), (engine.calls, ended)
    assert {record.state for record in undo_of(tmp_path)} == {UndoState.UNDONE}
    assert max(record.tries for record in undo_of(tmp_path)) > 1


def test_a_command_that_hangs_is_killed_at_its_own_limit(
    tmp_path: Path, engine: StubEngine, post: AnnouncementPipe
) -> None:
    engine.set("hang")
    with begun(tmp_path, engine, post, "--undo-timeout", "1", how="fail") as (running, _):
        said = running.expect(r".*undo\.failed.*")
        engine.set("hang", on=False)
        ended = running.wait()
    assert "it did not end within 1 s" in said
    left = [record for record in undo_of(tmp_path) if record.is_outstanding]
    if left:  # the end of the run waits for --undo-timeout only
        assert run_cli("clean", "r", "-j", tmp_path / "j.db").returncode == 0
    assert is_each_removed_once(engine), (engine.calls, ended)


def test_twenty_that_hang_extend_no_stop(tmp_path: Path, engine: StubEngine, post: AnnouncementPipe) -> None:
    """They are cut off at the end of its bound, and `status`, `show`, `prune` and `clean` know of them."""
    engine.set("hang")
    graces = ("--grace", "1", "--term-grace", "0.5")
    with begun(tmp_path, engine, post, *graces, name="makes_many", count=20) as (running, _):
        running.send(signal.SIGTERM)
        ended = running.wait()
    seen = look(tmp_path / "j.db")
    (verified,) = seen.named("cleanup.verified")
    assert (verified["undo_outstanding"], verified["remaining"]) == (20, []), ended
    assert verified["found"] == 0  # the commands were cut off, not found as something left behind
    assert seen.named("undo.cut_off")
    states = [(record.number, record.state, record.tries, record.error) for record in undo_of(tmp_path)]
    assert {state for _, state, _, _ in states} == {UndoState.HELD}, f"{states} {ended}"
    rungs = [event["rung"] for event in seen.named("ladder.rung")]
    assert rungs == ["FLAG"], ended  # the task had left: only undo commands were waited for

    journal = tmp_path / "j.db"
    status = run_cli("status", "r", "-j", journal)
    assert status.stdout.count("undo       ") == 11
    assert f"quiesce clean r --journal {journal}" in status.stdout
    assert len(json.loads(run_cli("status", "r", "-j", journal, "--json").stdout)["undo"]) == 20
    assert "the end of the run left it no more time" in run_cli("show", "r", "1", "-j", journal).stdout
    refused = run_cli("prune", "r", "-j", journal)
    assert "run r stays: it has 20 outstanding undo records" in refused.stderr
    engine.set("hang", on=False)
    assert len(run_cli("clean", "r", "-j", journal, "--dry-run").stdout.splitlines()) == 20
    done = run_cli("clean", "r", "-j", journal)
    assert done.returncode == 0, done
    assert is_each_removed_once(engine), engine.calls
    assert run_cli("prune", "r", "-j", journal).returncode == 0


# -- commands ------------------------------------------------------------------------------------------------

_DOCKER = """#!/bin/sh
echo "$*" >> "{calls}"
[ "$1" = run ] && [ "{how}" = wait ] && exec sleep 60
exit 0
"""


@pytest.mark.parametrize("how", ["end", "wait"])
def test_a_command_that_runs_a_container(tmp_path: Path, how: str) -> None:
    calls = tmp_path / "calls"
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(_DOCKER.format(calls=calls, how=how))
    docker.chmod(0o755)
    environment = {"PATH": f"{docker.parent}:{os.environ['PATH']}"}
    words = ["run", "-j", "1", "--journal", str(tmp_path / "j.db"), "--run-id", "r", "--grace", "20"]
    command = [*QUIESCE, *words, "--", "docker", "-D", "run", "--rm", "image", "{}", ":::", "a"]
    with Running(command, env=environment, cwd=tmp_path) as running:
        if how == "wait":
            wait_until(calls.exists, what="the container")
            running.send(signal.SIGTERM)
        ended = running.wait()
    assert calls.read_text().splitlines() == [
        "-D run --name q-r-1-1-1 --label quiesce.run=r --init --rm image a",
        "-D rm -fv q-r-1-1-1",
    ], ended
    assert [(each.command.name, each.state) for each in undo_of(tmp_path)] == [("q-r-1-1-1", UndoState.UNDONE)]


def test_containers_of_commands_are_left_alone_where_that_is_wanted(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(_DOCKER.format(calls=tmp_path / "calls", how="end"))
    docker.chmod(0o755)
    words = ("--journal", tmp_path / "j.db", "--run-id", "r", "--no-container-undo")
    done = run_cli("run", *words, "--", docker, "run", "-d", "image", ":::", "a", cwd=tmp_path)
    assert done.returncode == 0, done
    assert (tmp_path / "calls").read_text() == "run -d image a\n"
    assert undo_of(tmp_path) == []

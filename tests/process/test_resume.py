"""The next start goes on where the last one ended: nothing lost, nothing twice, whichever process was killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.cli import run_cli, start_cli
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.wait import wait_until

SQUARES = {str(line): (line - 1) ** 2 for line in range(1, 151)}


def test_after_sigterm_at_random_moments_the_results_are_those_of_one_run(tmp_path: Path) -> None:
    """Six starts, each stopped after a random number of further results; the last one is left alone.

    No start can come to the end: some tasks wait for a later one.
    """
    chance = random.Random(20)
    journal, limit = tmp_path / "j.db", tmp_path / "limit"
    env = {"QM_LIMIT": str(limit)}
    source = jsonl(tmp_path / "in.jsonl", range(150))
    common = ("-j", journal, "--grace", "5")
    command: tuple[object, ...] = ("run", agent("plain:square_below_limit"), "-i", source, "-w", "2", "--run-id", "r")
    for _ in range(6):
        goal = completed(journal) + chance.randrange(1, 20)
        limit.write_text(str(goal + 5))
        with start_cli(*map(str, (*command, *common)), env=env) as running:
            wait_until(lambda: completed(journal) >= goal)  # noqa: B023
            running.send(signal.SIGTERM)
            done = running.wait(15)
        assert done.returncode == -signal.SIGTERM, done
        assert procs.processes_of_run("r") == []
        command = ("resume", "r")
    limit.write_text("150")
    done = run_cli("resume", "r", *common, env=env)
    assert done.returncode == 0, done
    seen = look(journal)
    assert seen.values == SQUARES
    assert seen.recorded == len(SQUARES)
    assert seen.record.status == "completed"
    assert seen.record.starts == 7


def completed(journal: Path) -> int:
    """How many results are committed."""
    try:
        return len(look(journal, "r").values)
    except Exception:
        return 0


def test_a_stream_is_executed_as_it_comes_and_what_was_read_of_it_is_resumed(tmp_path: Path) -> None:
    """A writer of three lines that waits gets three results. A stop says that the rest was not read."""
    journal = tmp_path / "j.db"
    with start_cli(
        "run", agent("plain:double"), "-i", "-", "-w", "1", "-j", journal, "--run-id", "r", stdin=subprocess.PIPE
    ) as running:
        running.write("1\n2\n3")
        wait_until(lambda: completed(journal) == 2, 20, "two lines have ended")
        running.write("0\n")
        wait_until(lambda: completed(journal) == 3, 20, "and a third one")
        running.send(signal.SIGTERM)
        done = running.wait(15)
    assert done.returncode == -signal.SIGTERM, done
    assert "not read to its end" in done.stderr.splitlines()[-1]
    done = run_cli("resume", "r", "-j", journal)
    assert done.returncode == 0, done
    assert "not read to its end" in done.stderr.splitlines()[-1]
    assert look(journal).values == {"1": 2, "2": 4, "3": 60}


def test_after_kill_9_of_the_supervisor(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate, ExitDetector() as proof:
        held = {"key": "held", "post": post.path, "gate": gate.path, "proof": proof.path}
        source = jsonl(tmp_path / "in.jsonl", [*({"key": f"k{number}"} for number in range(30)), held])
        arguments = ("run", agent("plain:meet"), "-i", source, "-w", "2", "-j", journal, "--run-id", "r")
        with start_cli(*arguments, "--grace", "0.5", "--term-grace", "0.3") as running:
            post.expect()
            wait_until(lambda: completed(journal) == 30)
            running.send(signal.SIGKILL)
            proof.wait(4)
            running.wait(5)
        assert procs.processes_of_run("r") == []
        assert look(journal).record.status == "started"
        gate.open()
        done = run_cli("resume", "-j", journal)
    assert done.returncode == 0, done
    seen = look(journal)
    assert seen.recorded == 31
    assert all(outcome.ok for outcome in seen.outcomes.values())
    assert {outcome.attempts for key, outcome in seen.outcomes.items() if key != "held"} == {1}


def test_kill_9_of_an_executor_costs_its_own_task_one_attempt(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        held = [{"key": name, "post": post.path, "gate": gate.path} for name in ("x", "y")]
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a"}, *held, {"key": "b"}, {"key": "c"}])
        arguments = ("run", agent("plain:meet"), "-i", source, "-w", "2", "-j", journal)
        with start_cli(*arguments) as running:
            where = dict(word.split() for word in post.expect(2))
            os.kill(int(where["x"]), signal.SIGKILL)
            (again,) = post.expect()
            gate.open()
            done = running.wait()
    assert again.split()[0] == "x"
    assert again.split()[1] != where["x"]
    assert done.returncode == 0, done
    seen = look(journal)
    assert seen.values == {key: key for key in "axybc"}
    assert {key: outcome.attempts for key, outcome in seen.outcomes.items()} == {"a": 1, "x": 2, "y": 1, "b": 1, "c": 1}
    (crash,) = seen.named("task.crashed")
    assert crash["key"] == "x"
    assert "SIGKILL" in crash["error"]


def test_a_stray_sigterm_to_an_executor_costs_nothing(tmp_path: Path) -> None:
    """A user's `kill PID`: the executor leaves in good order, its task runs again elsewhere."""
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a", "steps": 5, "stop_at": 2, "post": post.path}])
        with start_cli("run", agent("plain:step"), "-i", source, "-w", "1", "-j", journal) as running:
            (pid,) = post.expect()
            os.kill(int(pid), signal.SIGTERM)
            done = running.wait()
    assert done.returncode == 0, done
    outcome = look(journal).outcomes["a"]
    assert outcome.value == {"found": [0, 1, 2], "done": [0, 1, 2, 3, 4]}
    assert outcome.attempts == 1


@pytest.mark.parametrize("then", ["finish", "interrupt"])
def test_kill_9_of_the_guardian(tmp_path: Path, then: str) -> None:
    """Its executors die with it; a new one takes its place, and the run goes on, or ends when it is stopped."""
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate, ExitDetector() as proof:
        held = {"key": "held", "post": post.path, "gate": gate.path, "proof": proof.path}
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a"}, held, {"key": "b"}])
        arguments = ("run", agent("plain:meet"), "-i", source, "-w", "1", "-j", journal, "--run-id", "r")
        with start_cli(*arguments, "--grace", "0.5", "--term-grace", "0.5") as running:
            post.expect()
            (guardian,) = [each for each in running.tree() if each.ppid() == running.pid]
            guardian.kill()
            running.expect("guardian.lost")
            post.expect()
            if then == "finish":
                gate.open()
            else:
                running.send(signal.SIGTERM)
            done = running.wait(15)
            proof.wait(2)
    assert done.returncode == (0 if then == "finish" else -signal.SIGTERM), done
    assert procs.processes_of_run("r") == []
    values = look(journal).values
    assert values == ({key: key for key in ("a", "held", "b")} if then == "finish" else {"a": "a"})


def test_a_snapshot_is_handed_back_on_resume(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a", "steps": 6, "stop_at": 3, "post": post.path}])
        with start_cli("run", agent("plain:step"), "-i", source, "-w", "1", "-j", journal) as running:
            post.expect()
            running.send(signal.SIGTERM)
            assert running.wait(10).returncode == -signal.SIGTERM
    done = run_cli("resume", "-j", journal)
    assert done.returncode == 0, done
    assert look(journal).values == {"a": {"found": [0, 1, 2, 3], "done": [0, 1, 2, 3, 4, 5]}}


@pytest.mark.parametrize("how", ["crash", "fail"])
def test_a_snapshot_is_handed_back_on_retry(tmp_path: Path, how: str) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a", "steps": 4, "stop_at": 1, "post": post.path, how: True}])
        done = run_cli("run", agent("plain:step"), "-i", source, "-w", "1", "-j", journal, "--retries", "1")
    assert done.returncode == 0, done
    outcome = look(journal).outcomes["a"]
    assert outcome.value == {"found": [0, 1], "done": [0, 1, 2, 3]}
    assert outcome.attempts == 2


def test_an_interrupt_uses_up_no_retry(tmp_path: Path) -> None:
    """`--retries 1` is one more try for a task that failed, however often the run was stopped before."""
    journal, ledger = tmp_path / "j.db", tmp_path / "ledger"
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a", "post": post.path, "ledger": str(ledger)}])
        command: tuple[object, ...] = ("run", agent("plain:wait_then_fail"), "-i", source, "-w", "1", "--retries", "1")
        for _ in range(2):
            with start_cli(*map(str, (*command, "-j", journal))) as running:
                post.expect()
                running.send(signal.SIGTERM)
                assert running.wait(10).returncode == -signal.SIGTERM
            command = ("resume",)
        ledger.touch()
        done = run_cli("resume", "-j", journal)
    assert done.returncode == 1, done
    assert ledger.read_text().count("tried") == 2


def test_failed_tasks_are_not_run_again(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "bad", "n": []}, {"key": "b", "post": post.path}, {"key": "c"}])
        with start_cli("run", agent("plain:fail_or_wait"), "-i", source, "-w", "1", "-j", journal) as running:
            post.expect()
            running.send(signal.SIGTERM)
            assert running.wait(10).returncode == -signal.SIGTERM
        os.rename(tmp_path / "post", tmp_path / "gone")
        done = run_cli("resume", "-j", journal)
        os.rename(tmp_path / "gone", tmp_path / "post")
    assert done.returncode == 1, done
    seen = look(journal)
    assert seen.statuses() == {"bad": "failed", "b": "completed", "c": "completed"}
    assert seen.outcomes["bad"].attempts == 1

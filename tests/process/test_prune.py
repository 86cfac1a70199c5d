"""`quiesce prune` and labels: what is removed, what is never removed, and how runs are found."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.core.records import NewTask, TaskOutcome
from orchestrator.journal import open_journal
from orchestrator.journal.sqlite.journal import SqliteJournal
from runtime.model import ExecutionStatus
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import run_cli, start_cli
from tests.support.sync import AnnouncementPipe, Gate

DAY = 86400.0


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Five runs: completed 40, 20 and 0 days ago, failed 40 days ago, and interrupted 50 days ago."""
    path = tmp_path / "quiesce.db"
    ages = {"old": 40.0, "middle": 20.0, "new": 0.0, "failed": 40.0, "interrupted": 50.0}
    with SqliteJournal(str(path)) as opened:
        for name, days in ages.items():
            run = opened.claim(opened.create_run(name, agent={"agent": "m:f"}).id).id
            opened.label_run(run, {"team": "a" if name in ("old", "failed") else "b", "age": f"{days:g}"})
            opened.add_tasks(run, [NewTask(str(n), b'"%s"' % (b"x" * 200)) for n in range(1, 501)])
            opened.seal(run)
            ended = [TaskOutcome(seq=n, key="", status=ExecutionStatus.COMPLETED, attempts=1) for n in range(1, 501)]
            opened.commit(run, outcomes=ended)
            status = ExecutionStatus(name) if name in ("failed", "interrupted") else ExecutionStatus.COMPLETED
            opened.finish_run(run, status)
            opened.release(run)
            opened._db.execute("UPDATE runs SET ended_at = ended_at - ? WHERE id = ?", (days * DAY, run))
    return path


def names(path: Path) -> list[str]:
    with open_journal(path, "read") as opened:
        return [run.run_id for run in opened.runs()]


def prune(path: Path, *words: str, code: int = 0) -> str:
    done = run_cli("prune", *words, cwd=path.parent)
    assert done.returncode == code, done
    return done.stderr if code else done.stdout


@pytest.mark.parametrize(
    ("words", "removed"),
    [
        (["--older-than", "30d"], ["old", "failed"]),
        (["--older-than", "240h", "--status", "completed"], ["old", "middle"]),
        (["--older-than", "30d", "--label", "team=b"], []),
        (["--label", "team=a"], ["old", "failed"]),
        (["--label", "team=a", "--label", "age=40", "--status", "failed"], ["failed"]),
        (["--status", "interrupted"], ["interrupted"]),
        (["--to-size", "1"], ["old", "middle", "new", "failed"]),
        (["--to-size", "1GB"], []),
        (["middle", "inter"], ["middle", "interrupted"]),
        (["middle", "--older-than", "30d"], []),
    ],
)
def test_what_is_chosen_is_removed_and_named(journal: Path, words: Sequence[str], removed: list[str]) -> None:
    before = names(journal)
    planned = prune(journal, *words, "--dry-run", "--json").splitlines()
    assert [json.loads(line)["run_id"] for line in planned] == removed
    assert names(journal) == before
    said = prune(journal, *words).splitlines()
    assert [line.split()[1] for line in said[:-1]] == removed
    assert said[-1].startswith("1 run removed" if len(removed) == 1 else f"{len(removed)} runs removed")
    assert names(journal) == [name for name in before if name not in removed]


def test_the_oldest_go_until_the_content_is_small_enough_and_the_file_shrinks(journal: Path) -> None:
    length = journal.stat().st_size
    with open_journal(journal, "read") as opened:
        goal = opened.used_size() - opened.used_size(opened.get_run("new").id)
    prune(journal, "--to-size", str(goal), "--no-vacuum")
    assert names(journal) == ["middle", "new", "failed", "interrupted"]
    assert journal.stat().st_size >= length
    prune(journal, "failed")
    assert journal.stat().st_size < 0.75 * length
    assert look(journal, "new").recorded == 500


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "say what to remove"),
        (["nix"], "there is no run nix"),
        (["--older-than", "soon"], "'soon' is not a time"),
        (["--to-size", "small"], "'small' is not a size"),
        (["--label", "team"], "--label 'team' is no label: write NAME=VALUE"),
        (["--label", "a=1", "--label", "a=2"], "--label a is given two values, '1' and '2'"),
    ],
)
def test_wrong_usage_removes_nothing(journal: Path, words: list[str], line: str) -> None:
    before = names(journal)
    assert line in prune(journal, *words, code=2)
    assert names(journal) == before


def test_a_living_run_is_never_removed_and_goes_on(tmp_path: Path) -> None:
    """Not by its name, nor by its status; and the file is not rewritten under its supervisor."""
    path = tmp_path / "quiesce.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        over = jsonl(tmp_path / "over.jsonl", [{"key": "x"}])
        held = jsonl(tmp_path / "held.jsonl", [{"key": "a", "post": post.path, "gate": gate.path}, {"key": "b"}])
        run = ("run", agent("plain:meet"), "-w", "1", "-j", str(path), "--run-id")
        assert run_cli(*run, "over", "-i", over, "--label", "team=a").returncode == 0
        with start_cli(*run, "alive", "-i", str(held), "--label", "team=a", "--label", "team=a") as running:
            post.expect(1, 90)
            assert "run alive is being executed by process" in prune(path, "alive", code=2)
            done = run_cli(
                "prune", "--label", "team=a", "--status", "interrupted", "--status", "completed", cwd=tmp_path
            )
            assert done.stdout.splitlines()[0].split()[:2] == ["removed", "over"], done
            assert done.stderr.startswith("quiesce: run alive is being executed, so the file keeps its length")
            gate.open()
            assert running.wait().returncode == 0
    assert names(path) == ["alive"]
    assert look(path, "alive").values == {"a": "a", "b": "b"}


def test_a_run_whose_supervisor_was_killed_counts_as_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "quiesce.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        held = jsonl(tmp_path / "held.jsonl", [{"key": "a", "post": post.path, "gate": gate.path}])
        with start_cli("run", agent("plain:meet"), "-i", str(held), "-j", str(path), "--run-id", "r") as running:
            post.expect(1, 90)
            running.send(signal.SIGKILL)
            gate.open()
            running.wait()
    assert prune(path, "--status", "completed", "--status", "failed").startswith("0 runs removed")
    assert prune(path, "--status", "interrupted").split()[:2] == ["removed", "r"]


def test_runs_are_found_by_their_labels(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1])
    for name, labels in {"one": ["team=a", "model=x/1"], "two": ["team=b"], "three": []}.items():
        words = [word for label in labels for word in ("--label", label)]
        done = run_cli("run", agent("plain:double"), "-i", source, "-w", "1", "--run-id", name, *words, cwd=tmp_path)
        assert done.returncode == 0, done

    def found(*words: str) -> list[str]:
        lines = run_cli("runs", "--json", *words, cwd=tmp_path).stdout.splitlines()
        return [json.loads(line)["run_id"] for line in lines]

    assert found() == ["one", "two", "three"]
    assert found("--label", "team=a") == ["one"]
    assert found("--label", "team=a", "--label", "model=x/1") == ["one"]
    assert found("--label", "team=a", "--label", "model=y") == []
    assert "team=a model=x/1" in run_cli("runs", cwd=tmp_path).stdout
    assert "labels     team=b" in run_cli("status", "two", cwd=tmp_path).stdout
    assert "labels" not in run_cli("status", "three", cwd=tmp_path).stdout
    assert json.loads(run_cli("status", "one", "--json", cwd=tmp_path).stdout)["labels"] == {
        "team": "a", "model": "x/1",
    }  # fmt: skip
    for bad in ("team", "=a", "a b=c", "x=" + "y" * 201):
        done = run_cli("run", agent("plain:double"), "-i", source, "--label", bad, cwd=tmp_path)
        assert (done.returncode, "is no label" in done.stderr) == (2, True), done
    assert found() == ["one", "two", "three"]

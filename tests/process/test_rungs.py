"""The TERM rung reaches an agent wherever it is, and its children as well; and SIGKILL is not needed."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.process.agents.rungs import BLOCKS
from tests.process.helpers import agent, jsonl, look
from tests.support.chaos.places import without_cgroups
from tests.support.cli import QUIESCE, Completed, Running, run_cli, start_cli
from tests.support.sync import AnnouncementPipe

GRACES = ("--grace", "0.2", "--term-grace", "20")


def stopped(tmp_path: Path, name: str, tasks: Sequence[dict[str, Any]], workers: int = 1) -> tuple[Completed, set[str]]:
    """Stop a run when every task with a mark has announced itself; and the marks that were left."""
    folder = tmp_path / "marks"
    folder.mkdir()
    with AnnouncementPipe(tmp_path / "post") as post:
        places = [{**task, "mark": str(folder / task["mark"]), "post": post.path} if task else {} for task in tasks]
        arguments = ("-i", jsonl(tmp_path / "in.jsonl", places), "-w", str(workers), "-j", tmp_path / "j.db")
        with start_cli("run", agent(f"rungs:{name}"), *arguments, *GRACES) as running:
            post.expect(sum(map(bool, tasks)), deadline=20)
            running.send(signal.SIGTERM)
            return running.wait(15), {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("threads", [0, 5])
def test_whatever_the_main_thread_waits_for_is_cut_short(tmp_path: Path, threads: int) -> None:
    """The request for stacks came first, and had the kernel begin the call again; or another thread took the signal."""
    tasks = [{"in": name, "mark": name, "threads": threads} for name in BLOCKS]
    done, marks = stopped(tmp_path, "blocks", tasks, workers=len(tasks))
    assert done.returncode == -signal.SIGTERM, done
    assert marks == set(BLOCKS)
    assert "rung=KILL" not in done.stderr


def test_a_shield_that_an_error_leaves_lets_the_rung_in(tmp_path: Path) -> None:
    done, marks = stopped(tmp_path, "shielded", [{"mark": "out"}])
    assert marks == {"out"}, done


def test_a_signal_that_one_agent_has_blocked_reaches_the_next(tmp_path: Path) -> None:
    done, marks = stopped(tmp_path, "masked", [{}, {"in": "sleep", "mark": "out"}])
    assert marks == {"out"}, done


def test_a_child_that_an_agent_forks_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """It had the executor's handlers, and ignored it; pools waited for ever in their own end."""
    journal = tmp_path / "j.db"
    done = run_cli("run", agent("rungs:forks"), "-i", jsonl(tmp_path / "in.jsonl", [1]), "-w", "1", "-j", journal)
    assert done.returncode == 0, done
    assert look(journal).values == {"1": -signal.SIGTERM}


def test_stacks_that_are_asked_for_at_any_moment_end_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the histories are there
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", range(60))
    arguments = (
        "run",
        agent("plain:square_slowly"),
        "-i",
        source,
        "-w",
        "4",
        "-j",
        journal,
        "--max-tasks-per-executor",
        "2",
    )
    with start_cli(*arguments) as running:
        running.expect("guardian.started")
        while running.popen.poll() is None:
            running.send(signal.SIGUSR1)
            time.sleep(0.02)  # the pace of the storm
        done = running.wait()
    assert done.returncode == 0, done.stderr[-2000:]
    assert {each["exit"] for each in look(journal).named("executor.exited")} == {"exit code 0"}


def test_who_is_only_found_at_the_end_is_named_too(tmp_path: Path) -> None:
    """Without a cgroup such a process belongs to no executor until then."""
    journal = tmp_path / "j.db"
    words = [
        "run",
        agent("rungs:nameless"),
        "-i",
        str(jsonl(tmp_path / "in.jsonl", [1])),
        "-w",
        "1",
        "-j",
        str(journal),
    ]
    with Running([*without_cgroups(), *QUIESCE, *words]) as running:
        done = running.wait(15)
    assert done.returncode == 0, done
    named = [each for kind in ("executor.strays", "cleanup.strays") for each in look(journal).named(kind)]
    assert any("sleep 61" in process for each in named for process in each["processes"]), named

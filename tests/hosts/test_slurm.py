"""Printed batch scripts on a real Slurm of one node: signalled, preempted, at their time limit, as an array.

Needs root and Debian's slurm-wlm and munge; skips with the reason. One cluster for the whole module. The job of the
time limit, which is a minute at least, is submitted first and looked at last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import seen
from tests.hosts.slurm import Slurm, why_not
from tests.process.helpers import look
from tests.support.cli import run_cli
from tests.support.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

AGENTS = """
import time


def nap(task, state):
    state.sleep(task)
    return task


def once(task, state):
    '''End at once when it has been interrupted before.'''
    if state.snapshot is None:
        state.save_snapshot(True)
        state.sleep(600)
    return task


def deaf(task, state):
    if state.snapshot is not None:
        return task
    state.save_snapshot(True)
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
"""

ROWS: list[tuple[str, str]] = []


@dataclass
class Cluster:
    """A Slurm, and a folder with agents and inputs."""

    slurm: Slurm
    folder: Path

    def submit(self, agent: str, inputs: list[Any], name: str, *options: str, sbatch: tuple[str, ...] = ()) -> str:
        """Print a script for a run of these inputs, and submit it."""
        source = self.folder / f"{name}.jsonl"
        source.write_text("".join(json.dumps(value) + "\n" for value in inputs))
        return self.submit_words(agent, str(source), *options, sbatch=sbatch)

    def submit_words(self, agent: str, source: str, *options: str, sbatch: tuple[str, ...] = ()) -> str:
        """Print a script for an input that is there."""
        words = ("slurm", f"agents.py:{agent}", "--input", source, "--workers", "1", *options)
        done = run_cli(*words, cwd=self.folder)
        assert done.returncode == 0, done
        return self.slurm.submit(done.stdout, f"--output={self.folder}/%x-%j.out", *sbatch)

    def output(self, name: str) -> str:
        """What the jobs of a name have written."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob(f"{name}-*.out"))

    def expect(self, name: str, pattern: str, count: int = 1) -> None:
        """Wait until a job has written this."""
        wait_until(
            lambda: len(re.findall(pattern, self.output(name))) >= count,
            120,
            lambda: f"{pattern}:\n{self.output(name)}\n{self.slurm.logs()}",
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "agents.py").write_text(AGENTS)
    (folder / "cluster").mkdir()
    with Slurm(folder / "cluster") as slurm:
        version = slurm.ask("sbatch", "--version").split()[-1]
        yield Cluster(slurm, folder)
    seen.write("slurm", {"slurm": version}, ROWS)


@pytest.fixture(scope="module")
def limited(cluster: Cluster) -> str:
    """A job with the shortest time limit, whose agent is deaf: it is warned 50 s before, or up to a minute earlier."""
    return cluster.submit("deaf", [1], "limit", "--grace", "37", "--term-grace", "8", "--time", "1")


def test_a_warning_requeues_the_job_which_resumes_the_run(cluster: Cluster, limited: str) -> None:
    """`scancel --signal=USR1 --batch`, as Slurm does before the time limit."""
    assert limited
    job = cluster.submit("once", [1, 2], "warned", "--time", "10")
    cluster.expect("warned", "host.job")
    cluster.expect("warned", "executor.started")
    wait_until(lambda: look(cluster.folder / "warned.db").record.starts == 1, 60)
    cluster.slurm.ask("scancel", "--signal=USR1", "--batch", job)
    cluster.expect("warned", "received SIGUSR1")
    after = cluster.slurm.wait(job, "COMPLETED", "RUNNING")
    if after["JobState"] == "RUNNING":  # the second task
        cluster.expect("warned", "run.resumed")
        cluster.slurm.ask("scancel", "--signal=USR1", "--batch", job)
        after = cluster.slurm.wait(job, "COMPLETED")
    run = look(cluster.folder / "warned.db")
    assert set(run.statuses().values()) == {"completed"}
    assert int(after["Restarts"]) == run.record.starts - 1 >= 1
    assert [event["restarts"] for event in run.named("host.job")] == list(range(run.record.starts))
    ROWS.append(("`scancel --signal=USR1 --batch`", "stopped, exit code 75, requeued, resumed, completed"))


def test_a_preempted_job_is_stopped_requeued_and_resumed(cluster: Cluster, limited: str) -> None:
    assert limited
    job = cluster.submit("once", [1], "preempted", "--time", "10", "--partition", "low", sbatch=("--cpus-per-task=3",))
    cluster.expect("preempted", "executor.started")
    wait_until(lambda: look(cluster.folder / "preempted.db").record.starts == 1, 60)
    urgent = cluster.slurm.submit(
        "#!/bin/bash\nsleep 1\n", "-p", "high", "--cpus-per-task=2", "--time=1", "--output=/dev/null"
    )
    cluster.slurm.wait(urgent, "COMPLETED")
    after = cluster.slurm.wait(job, "COMPLETED")
    run = look(cluster.folder / "preempted.db")
    assert run.statuses() == {"1": "completed"}
    assert (after["Restarts"], run.record.starts) == ("1", 2)
    assert [event["triggered_by"] for event in run.named("interrupt.requested")] == ["signal:SIGTERM"]
    ROWS.append(
        (
            "preempted by a job of another partition (`PreemptMode=REQUEUE`)",
            "stopped by SIGTERM in order, requeued, resumed, completed",
        )
    )


def test_a_cancelled_job_ends_by_the_signal_and_leaves_nothing(cluster: Cluster, limited: str) -> None:
    """SIGTERM comes to every process of the job; the agents are deaf, and the graces longer than KillWait."""
    assert limited
    job = cluster.submit("deaf", [1], "cancelled", "--time", "10", "--grace", "60", "--term-grace", "30")
    cluster.expect("cancelled", "executor.started")
    wait_until(lambda: look(cluster.folder / "cancelled.db").record.starts == 1, 60)
    cluster.slurm.ask("scancel", job)
    cluster.slurm.wait(job, "CANCELLED")
    cluster.expect("cancelled", "run.finished|interrupted after")
    run = look(cluster.folder / "cancelled.db")
    (shortened,) = run.named("ladder.shortened")
    assert shortened["granted"] == 5
    (end,) = run.named("cleanup.verified")
    assert (end["remaining"], run.statuses()) == ([], {"1": "interrupted"})
    ROWS.append(
        (
            "`scancel`, agents deaf to everything, graces of 90 s, `KillWait=5`",
            f"the ladder shrinks: over after {end['seconds']:.1f} s, nothing left",
        )
    )


def test_an_array_is_a_run_for_each_task(cluster: Cluster, limited: str) -> None:
    assert limited
    for number in (1, 2, 3):
        (cluster.folder / f"part-{number}.jsonl").write_text(f"0.0{number}\n0\n")
    job = cluster.submit_words("nap", "part-%a.jsonl", "--array", "1-3", "--time", "10")
    for number in (1, 2, 3):
        cluster.slurm.wait(f"{job}_{number}", "COMPLETED")
        run = look(cluster.folder / f"part-{number}.db")
        assert run.values == {"1": number / 100, "2": 0}
        assert [event["array_task"] for event in run.named("host.job")] == [str(number)]
    ROWS.append(("`--array 1-3`", "three jobs, each with its own input, run and journal; completed"))


def test_the_time_limit_is_used_and_kept(cluster: Cluster, limited: str) -> None:
    """The warning leaves the ladder all of the time; then the job is requeued, and the run completed."""
    after = cluster.slurm.wait(limited, "COMPLETED", seconds=200)
    run = look(cluster.folder / "limit.db")
    (stop,) = run.named("interrupt.requested")
    assert stop["triggered_by"] == "signal:SIGUSR1"
    (end,) = run.named("cleanup.verified")[:1]
    assert end["remaining"] == []
    assert end["seconds"] < 60
    assert (after["Restarts"], run.record.starts, run.statuses()) == ("1", 2, {"1": "completed"})
    ROWS.append(
        (
            "time limit of a minute, an agent deaf to everything",
            f"warned, over after {end['seconds']:.1f} s, exit code 75, requeued, resumed, completed",
        )
    )

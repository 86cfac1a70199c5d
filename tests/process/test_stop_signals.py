"""Signals of a scheduler stop a run as `--stop-on` says, within the time that the job has; SIGQUIT shows stacks."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from runtime import ExecutionInterrupted
from tests.process.agents import plain
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import run_cli, start_cli
from tests.support.sync import AnnouncementPipe

HELD = agent("parents:held")
SLURM = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}


def commands(folder: Path, **texts: str) -> dict[str, str]:
    """Return an environment whose PATH begins with commands that print these texts."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def hold(tmp_path: Path, *options: str, **environment: str) -> Any:
    """Start a run whose agent waits for its interrupt."""
    source = jsonl(tmp_path / "in.jsonl", [{"post": str(tmp_path / "post")}])
    words: list[str | Path] = ["run", HELD, "-i", source, "-w", "1", "-j", tmp_path / "j.db", *options]
    return start_cli(*words, env=environment)


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
def test_a_warning_of_slurm_stops_the_run_which_is_to_be_resumed(tmp_path: Path, name: str) -> None:
    with AnnouncementPipe(tmp_path / "post") as post, hold(tmp_path, **SLURM) as running:
        post.expect(1)
        running.send(signal.Signals[name])
        done = running.wait()
    assert done.returncode == 75, done
    seen = look(tmp_path / "j.db")
    assert seen.statuses() == {"1": "interrupted"}
    (stop,) = seen.named("interrupt.requested")
    assert (stop["reason"], stop["triggered_by"]) == ("system_shutdown", f"signal:{name}")


def test_the_ladder_ends_before_the_time_limit_of_the_job(tmp_path: Path) -> None:
    """Not the graces count, but the time that is left: all of it after a warning."""
    ends = str(int(time.time()) + 100)
    graces = ("--grace", "600", "--term-grace", "60")
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        hold(tmp_path, *graces, **SLURM, SLURM_JOB_END_TIME=ends) as running,
    ):
        post.expect(1)
        running.send(signal.SIGUSR1)
        running.wait()
    (stop,) = look(tmp_path / "j.db").named("interrupt.requested")
    assert 30 < stop["grace"] + stop["term_grace"] < 98  # more than the KillWait


def test_slurm_is_asked_where_the_environment_does_not_say(tmp_path: Path) -> None:
    found = commands(tmp_path / "bin", squeue="1-00:00:09", scontrol="KillScript = x\nKillWait                = 7 sec")
    done = run_cli("config", "--json", env={**SLURM, **found})
    rows = {row["setting"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["host_grace"]["value"] == 7
    assert "KillWait" in str(rows["host_grace"])
    assert rows["stop_on"]["value"] == ["USR1", "USR2"]


def test_a_time_limit_that_squeue_tells_bounds_the_ladder(tmp_path: Path) -> None:
    found = commands(tmp_path / "bin", squeue="1:40", scontrol="KillWait = 600 sec")
    graces = ("--grace", "600", "--term-grace", "60")
    with AnnouncementPipe(tmp_path / "post") as post, hold(tmp_path, *graces, **SLURM, **found) as running:
        post.expect(1)
        running.send(signal.SIGTERM)
        done = running.wait()
    assert done.returncode == -signal.SIGTERM, done
    (stop,) = look(tmp_path / "j.db").named("interrupt.requested")
    assert stop["grace"] + stop["term_grace"] < 98


def test_a_slurm_that_does_not_answer_holds_up_nothing(tmp_path: Path) -> None:
    found = commands(tmp_path / "bin", squeue="nonsense", scontrol="nonsense")
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\nexec sleep 600\n")
    done = run_cli("run", agent("parents:quick"), "-i", jsonl(tmp_path / "in.jsonl", [1]), "-w", "1",
                   "-j", tmp_path / "j.db", env={**SLURM, **found})  # fmt: skip
    assert done.returncode == 0, done


def test_a_warning_for_every_process_ends_none_of_them(tmp_path: Path) -> None:
    """As Slurm signals a step: the supervisor, its guardian, the executors."""
    with AnnouncementPipe(tmp_path / "post") as post, hold(tmp_path, "--stop-on", "usr2,SIGXCPU,QUIT") as running:
        post.expect(1)
        for process in running.tree():
            if process.pid != running.pid:
                for number in (signal.SIGUSR2, signal.SIGXCPU, signal.SIGQUIT):
                    process.send_signal(number)
        running.send(signal.SIGXCPU)
        done = running.wait()
    assert done.returncode == 75, done
    seen = look(tmp_path / "j.db")
    assert [event["exit"] for event in seen.named("executor.exited")] == ["exit code 0"]
    assert not seen.named("guardian.lost")
    assert seen.statuses() == {"1": "interrupted"}


def test_usr1_shows_stacks_unless_it_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the histories are there
    with AnnouncementPipe(tmp_path / "post") as post, hold(tmp_path, "--stop-on", "none", **SLURM) as running:
        post.expect(1)
        running.send(signal.SIGUSR1)
        running.expect(r"in _dump_stacks")
        running.send(signal.SIGQUIT)
        running.expect(r"in _dump_stacks", count=2)
        running.send(signal.SIGTERM)
        done = running.wait()
    assert done.returncode == -signal.SIGTERM, done


def test_a_signal_that_cannot_stop_a_run_is_refused() -> None:
    done = run_cli("run", HELD, "-i", "x", "--stop-on", "USR1,KILL")
    assert done.returncode == 2
    assert "'KILL' cannot stop a run; give some of INT, TERM, HUP, QUIT, USR1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_program_goes_on_after_a_warning() -> None:
    """It is not ended by a signal that its host sends before it ends it: it may have to save something."""
    with Supervisor(workers=1, stop_on=["USR1"]) as supervisor, pytest.raises(ExecutionInterrupted) as stopped:
        for _ in supervisor.map(plain.square_slowly, range(1000)):
            os.kill(os.getpid(), signal.SIGUSR1)
    assert stopped.value.signal.triggered_by == "signal:SIGUSR1"

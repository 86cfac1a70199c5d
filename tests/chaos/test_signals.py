"""Signals at the supervisor, its guardian and its executors: killed, stopped, stormed."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import time

import psutil
import pytest

from tests.chaos.conftest import SLACK, Scenario
from tests.support import procs
from tests.support.chaos.faults import inject
from tests.support.wait import wait_until

HOSTILE = [["cooperative", "busy", "stuck"], ["deaf", "swallowing", "child"], ["orphan", "daemon", "hidden"]]
"""Kinds of task that run side by side."""


@pytest.mark.parametrize("kinds", HOSTILE, ids=" ".join)
def test_after_sigterm_everything_is_gone_within_the_graces(scenario: Scenario, kinds: list[str]) -> None:
    tasks = scenario.tasks([*kinds, *["quick"] * 20])
    with scenario.start(workers=3) as running:
        scenario.proof.wait_until_held(3)
        running.send(signal.SIGTERM)
        done = running.wait(0.6 + SLACK + 2)
        scenario.wait_until_gone(SLACK)
    assert done.signal is signal.SIGTERM
    scenario.resume_to_the_end(tasks)


@pytest.mark.parametrize("kinds", HOSTILE, ids=" ".join)
def test_after_the_supervisors_death_everything_is_gone_within_the_grace_and_a_second(
    scenario: Scenario, kinds: list[str]
) -> None:
    tasks = scenario.tasks([*kinds, *["quick"] * 20])
    with scenario.start(workers=3) as running:
        scenario.proof.wait_until_held(3)
        running.send(signal.SIGKILL)
        scenario.wait_until_gone(0.3 + 1 + SLACK)
    scenario.resume_to_the_end(tasks)


def test_stopped_executors_are_continued_terminated_and_killed(scenario: Scenario) -> None:
    tasks = scenario.tasks(["cooperative", "cooperative"])
    with scenario.start() as running:
        scenario.proof.wait_until_held(2)
        for executor in scenario.target(running).executors():
            executor.suspend()
        running.send(signal.SIGTERM)
        running.wait(0.6 + SLACK + 2)
        scenario.wait_until_gone(SLACK)
    scenario.resume_to_the_end(tasks)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_guardian_holds_nothing_up(scenario: Scenario, end: signal.Signals) -> None:
    """Its supervisor continues it with every order; when that is dead, its executors do."""
    tasks = scenario.tasks(["cooperative", "cooperative"])
    with scenario.start() as running:
        scenario.proof.wait_until_held(2)
        guardian = scenario.target(running).guardian()
        assert guardian is not None
        guardian.suspend()
        running.send(end)
        if end == signal.SIGTERM:
            assert running.wait(0.6 + SLACK + 2).signal is end
        scenario.wait_until_gone(0.6 + SLACK + 1)
    scenario.resume_to_the_end(tasks)


def test_a_guardian_that_is_stopped_again_and_again_holds_no_stop_up(scenario: Scenario) -> None:
    """Its supervisor looks after it, also when nothing is left to order. (When that is dead, and the last executor too,
    no process is left that could.)"""
    tasks = scenario.tasks(["cooperative", "busy", "orphan"])
    with scenario.start(workers=3) as running:
        scenario.proof.wait_until_held(3)
        guardian = scenario.target(running).guardian()
        assert guardian is not None
        running.send(signal.SIGTERM)
        with contextlib.suppress(psutil.Error):  # it has ended
            for _ in range(5):
                guardian.suspend()
                time.sleep(0.1)
        assert running.wait(0.6 + SLACK + 2).signal is signal.SIGTERM
        scenario.wait_until_gone(SLACK)
    scenario.resume_to_the_end(tasks)


def test_a_stopped_guardian_hides_no_death(scenario: Scenario) -> None:
    """It alone hears of an executor's end; an executor that is killed cannot wake it any more."""
    tasks = scenario.tasks(["cooperative", *["quick"] * 20])
    with scenario.start(workers=1) as running:
        scenario.proof.wait_until_held(1)
        target = scenario.target(running)
        guardian, (executor,) = target.guardian(), target.executors()
        assert guardian is not None
        guardian.suspend()
        executor.kill()
        done = running.wait()
    assert done.returncode == 0, done
    scenario.resume_to_the_end(tasks)


def test_a_killed_guardian_costs_no_result(scenario: Scenario) -> None:
    """Its executors die with it; a new one is started, and the run goes on by itself."""
    tasks = scenario.tasks(["cooperative", "daemon", *["quick"] * 50])
    with scenario.start() as running:
        scenario.proof.wait_until_held(2)
        assert inject("guardian KILL", scenario.target(running))
        running.expect("guardian.lost")
        done = running.wait()
        scenario.wait_until_gone(SLACK)
    assert done.returncode == 0, done
    scenario.resume_to_the_end(tasks)


def test_a_killed_executor_costs_no_result(scenario: Scenario) -> None:
    tasks = scenario.tasks(["cooperative", *["quick"] * 50], hold=0.5)
    with scenario.start(workers=1) as running:
        scenario.proof.wait_until_held(1)
        assert inject("executor KILL", scenario.target(running))
        done = running.wait()
    assert done.returncode == 0, done
    scenario.resume_to_the_end(tasks)


def test_a_thousand_signals_stop_it_once(scenario: Scenario) -> None:
    tasks = scenario.tasks(["cooperative", "cooperative", *["quick"] * 20])
    with scenario.start() as running:
        scenario.proof.wait_until_held(2)
        assert inject("supervisor storm", scenario.target(running))
        done = running.wait(0.6 + SLACK + 2)
        scenario.wait_until_gone(SLACK)
    assert done.signal in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    assert done.stderr.count("interrupt.requested") == 1
    scenario.resume_to_the_end(tasks)


@pytest.mark.parametrize("who", ["guardian", "executor"])
def test_storms_at_its_helpers_change_nothing(scenario: Scenario, who: str) -> None:
    tasks = scenario.tasks(["cooperative", "snapshot", *["quick"] * 50], hold=0.5)
    with scenario.start() as running:
        scenario.proof.wait_until_held(1)
        assert inject(f"{who} storm", scenario.target(running))
        done = running.wait()
    assert done.returncode == 0, done
    scenario.resume_to_the_end(tasks)


def test_a_stopped_supervisor_goes_on_where_it_was(scenario: Scenario) -> None:
    tasks = scenario.tasks(["snapshot", *["quick"] * 100], hold=0.5)
    with scenario.start() as running:
        scenario.proof.wait_until_held(1)
        os.kill(running.pid, signal.SIGSTOP)
        wait_until(lambda: scenario.target(running).supervisor.status() == "stopped", what="the supervisor to stop")
        os.kill(running.pid, signal.SIGCONT)
        done = running.wait()
    assert done.returncode == 0, done
    scenario.resume_to_the_end(tasks)


def test_a_snapshot_survives_the_supervisors_death(scenario: Scenario) -> None:
    tasks = scenario.tasks(["snapshot"], hold=2.0)
    with scenario.start(workers=1) as running:
        scenario.proof.wait_until_held(1)
        wait_until(lambda: b"\x00" in scenario.journal.read_bytes(), what="the journal to have something")
        running.send(signal.SIGKILL)
        scenario.wait_until_gone(0.3 + 1 + SLACK)
    scenario.resume_to_the_end(tasks)


@pytest.mark.parametrize("after", [0.12, 0.16, 0.2, 0.24, 0.28, 0.32, 0.36, 0.4, 0.5, 0.6])
def test_killed_at_any_moment_of_its_start_it_leaves_nothing(scenario: Scenario, after: float) -> None:
    """No process, and no cgroup, whose name nothing would remember."""
    tasks = scenario.tasks(["quick"] * 3)
    with scenario.start() as running:
        time.sleep(after)
        running.send(signal.SIGKILL)
        running.popen.wait(10)
        scenario.proof.wait(0.3 + 1 + SLACK)
        wait_until(
            lambda: not procs.processes_of_run(scenario.run_id) and not leaves_of(scenario.run_id),
            0.3 + 1 + SLACK,
            lambda: f"{procs.processes_of_run(scenario.run_id)} {leaves_of(scenario.run_id)}",
        )
    if scenario.auditor.read() is None:  # there is no run yet: a first start
        with scenario.start() as running:
            assert running.wait(20).returncode == 0
    scenario.resume_to_the_end(tasks)


def leaves_of(run_id: str) -> list[str]:
    """The cgroups that were made for a run. (Path.glob would raise for what another test removes meanwhile.)"""
    return glob.glob(f"/sys/fs/cgroup/**/*{run_id}*", recursive=True)

"""A guardian that is held where SIGCONT does not help: the run goes on or ends, and so do its executors without it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.conftest import SLACK, Scenario
from tests.support.cli import Running
from tests.support.hold import CAN_FREEZE, frozen, traced
from tests.support.wait import wait_until

HOLDS = [
    pytest.param(traced, id="traced"),
    pytest.param(frozen, id="frozen", marks=pytest.mark.skipif(not CAN_FREEZE, reason="there is no freezer here")),
]
Hold = Callable[[int], AbstractContextManager[object]]


def guardian_of(scenario: Scenario, running: Running) -> int:
    guardian = scenario.target(running).guardian()
    assert guardian is not None
    return guardian.pid


def sentinel_of(guardian: int) -> int:
    """Its first child: a fork of it, from before there were executors."""
    return int(Path(f"/proc/{guardian}/task/{guardian}/children").read_text().split()[0])


def wait_until_begun(scenario: Scenario, task: dict[str, Any]) -> None:
    """It has left its mark: when it runs again it is quick."""
    wait_until((scenario.folder / "marks" / task["key"]).exists, what="the task has begun")


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("kinds", [["cooperative", "cooperative"], ["busy", "stuck", "child"]], ids=" ".join)
def test_a_stop_takes_its_graces_and_no_longer(scenario: Scenario, hold: Hold, kinds: list[str]) -> None:
    tasks = scenario.tasks(kinds)
    with scenario.start(workers=len(kinds)) as running:
        scenario.proof.wait_until_held(len(kinds))
        with hold(guardian_of(scenario, running)):
            running.send(signal.SIGTERM)
            running.popen.wait(0.6 + 2 + SLACK)
            scenario.proof.wait(0.5)
        done = running.wait()
        scenario.wait_until_gone(SLACK)
    assert done.signal is signal.SIGTERM
    assert "guardian.held" in done.stderr
    assert "cleanup.verified" in done.stderr
    assert "ended=-" not in done.stderr  # who could not be ended was found as well
    scenario.resume_to_the_end(tasks)


@pytest.mark.parametrize("hold", HOLDS)
def test_while_the_run_goes_on_it_is_replaced(scenario: Scenario, hold: Hold) -> None:
    """Nothing needs it at that moment, and it is noticed all the same."""
    tasks = scenario.tasks(["cooperative", *["quick"] * 10], hold=300.0)
    with scenario.start(workers=1) as running:
        wait_until_begun(scenario, tasks[0])
        with hold(guardian_of(scenario, running)):
            running.expect("guardian.held")
            running.popen.wait(20)
        done = running.wait()
        scenario.wait_until_gone(SLACK)
    assert done.returncode == 0, done
    scenario.resume_to_the_end(tasks)


def freezer_of(pid: int) -> Path | None:
    """By what the cgroup that a run has made for itself is frozen; None if the process is in none."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    group = next((line[3:] for line in lines if line.startswith("0::")), "")
    roots = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    files = [Path(root) / group.lstrip("/") / "cgroup.freeze" for root in roots if "quiesce-" in group]
    return next((path for path in files if path.exists()), None)


@pytest.mark.parametrize("kinds", [["cooperative", "busy"], ["stuck", "hidden"]], ids=" ".join)
def test_an_agent_that_freezes_its_own_cgroup_is_ended_when_the_supervisor_is_killed(
    scenario: Scenario, kinds: list[str]
) -> None:
    """Its guardian, its heir, is frozen with it. Nothing is left, no cgroup either, and the next start goes on."""
    tasks = scenario.tasks(kinds)
    with scenario.start() as running:
        scenario.proof.wait_until_held(2)
        file = freezer_of(guardian_of(scenario, running))
        if file is None:
            pytest.skip("no cgroup of its own here")
        file.write_text("1")
        running.send(signal.SIGKILL)
        scenario.proof.wait(0.3 + 1 + SLACK)
        scenario.wait_until_gone(SLACK)
        wait_until(lambda: not file.exists(), SLACK, "the cgroup is removed")
    scenario.resume_to_the_end(tasks)


def test_an_agent_that_freezes_its_own_cgroup_does_not_hang_the_run(scenario: Scenario) -> None:
    tasks = scenario.tasks(["cooperative", "quick"], hold=300.0)
    with scenario.start(workers=1) as running:
        wait_until_begun(scenario, tasks[0])
        file = freezer_of(guardian_of(scenario, running))
        if file is None:
            pytest.skip("no cgroup of its own here")
        file.write_text("1")
        running.expect("guardian.held")
        done = running.wait(20)
    assert done.returncode == 0, done
    scenario.resume_to_the_end(tasks)


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("kind", ["cooperative", "busy", "stuck"])
def test_when_the_supervisor_is_killed_executors_end_without_it(scenario: Scenario, hold: Hold, kind: str) -> None:
    tasks = scenario.tasks([kind, kind])
    with scenario.start() as running:
        scenario.proof.wait_until_held(2)
        with hold(guardian_of(scenario, running)):
            running.send(signal.SIGKILL)
            scenario.proof.wait(0.3 + 1 + SLACK)
        scenario.wait_until_gone(SLACK)
    scenario.resume_to_the_end(tasks)


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_sentinel_that_is_held_holds_up_no_end(scenario: Scenario, hold: Hold, signum: signal.Signals) -> None:
    """The guardian ends it before its last look, and does not wait for it beyond measure."""
    tasks = scenario.tasks(["stuck", "busy"])
    with scenario.start() as running:
        scenario.proof.wait_until_held(2)
        with hold(sentinel_of(guardian_of(scenario, running))):
            running.send(signum)
            scenario.proof.wait(0.6 + 2 + SLACK)
            running.popen.wait(0.6 + 2 + 4 + SLACK)
        scenario.wait_until_gone(SLACK)
    scenario.resume_to_the_end(tasks)

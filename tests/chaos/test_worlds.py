"""A world that fails around a run: its disk, its descriptors, its processes, its clock. One fixed round each."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.chaos.clock import Clock
from tests.support.chaos.plan import Fault, Plan
from tests.support.chaos.round import play

KINDS = ["cooperative", "snapshot", "snapshot", "large", "busy", *["quick"] * 60, "cooperative", *["quick"] * 60]

WORLDS = {
    "disk full": [Fault("disk full", 0.1)],
    "read-only": [Fault("read-only", 0.1)],
    "deleted": [Fault("deleted", 0.1)],
    "slow disk": [Fault("slow disk", 0.1), Fault("supervisor TERM", 0.2)],
    "no descriptors": [Fault("no descriptors", 0.05), Fault("executor KILL", 0.1)],
    "no processes": [Fault("no processes", 0.05), Fault("executor KILL", 0.1)],
    "clock": [Fault("clock jump", 0.1), Fault("executor KILL", 0.2), Fault("supervisor TERM", 0.3)],
    "no cgroup": [Fault("supervisor KILL", 0.2)],
}


@pytest.mark.parametrize("theme", WORLDS)
def test_a_round_in_a_failing_world_loses_nothing_and_leaves_nothing(theme: str) -> None:
    report = play(Plan(seed=7, theme=theme, kinds=KINDS, workers=2, attempts=[WORLDS[theme]]))
    if report.cannot:
        pytest.skip(report.cannot)
    assert report.problems == []


def test_the_clock_jumps_for_those_who_live_by_it(tmp_path: Path) -> None:
    """Else the rounds of that theme would show nothing."""
    clock = Clock.build(tmp_path)
    if clock is None:
        pytest.skip("no C compiler")
    clock.jump(-7200)
    look = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"
    said = subprocess.run([sys.executable, "-c", look], env=clock.environment, capture_output=True, check=True).stdout
    wall, date, monotonic = map(float, said.split())
    assert abs(time.time() - 7200 - wall) < 60
    assert abs(wall - date) < 60
    assert abs(time.monotonic() - monotonic) < 60


def test_detached_and_nameless_processes_are_found_without_cgroups() -> None:
    kinds = ["hidden", "daemon", "orphan", *["quick"] * 30]
    report = play(Plan(seed=8, theme="no cgroup", kinds=kinds, attempts=[[Fault("supervisor KILL", 0.2)]]))
    assert report.problems == []

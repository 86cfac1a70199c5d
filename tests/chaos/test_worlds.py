"""A world that fails around a run: its disk, its descriptors, its processes, its clock. One fixed round each."""

from __future__ import annotations

import pytest

from chaos.plan import Fault, Plan
from chaos.round import play

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
    if any("this host cannot" in problem for problem in report.problems):
        pytest.skip(report.problems[0])
    assert report.problems == []


def test_detached_and_nameless_processes_are_found_without_cgroups() -> None:
    kinds = ["hidden", "daemon", "orphan", *["quick"] * 30]
    report = play(Plan(seed=8, theme="no cgroup", kinds=kinds, attempts=[[Fault("supervisor KILL", 0.2)]]))
    assert report.problems == []

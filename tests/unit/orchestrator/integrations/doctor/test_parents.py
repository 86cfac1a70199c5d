"""What has started a process is recognised, and its time compared with the graces."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.ladder import Ladder
from orchestrator.core.stop_budget import fit
from orchestrator.integrations.doctor import parents
from orchestrator.integrations.doctor.checks import CheckStatus, Finding, Plan, run_checks
from orchestrator.integrations.doctor.parents import Parent, recognise
from tests.unit.orchestrator.integrations.test_doctor import GOOD

PAGE = Path(__file__).parents[5] / "docs" / "hosts.md"


def found(
    environment: dict[str, str] | None = None, *lines: str, cgroups: str = "", pid1: bool = False
) -> Parent | None:
    """Return what is recognised of these ancestors, the parent first."""
    return recognise(environment or {}, [line.split() for line in lines], cgroups, is_pid1=pid1, no_hangup=False)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("timeout 10 quiesce run", None),
        ("/usr/bin/timeout -k 5 10 quiesce run -k 7", 5),
        ("timeout -k5 10 q", 5),
        ("timeout -vk 2m 1h q", 120),
        ("timeout --kill-after=1.5s 10 q", 1.5),
        ("timeout --foreground --kill-after 1h 10 q", 3600),
        ("timeout -s INT -k 3 10 q", 3),
        ("timeout -k soon 10 q", None),
        ("timeout -k 0 10 q", None),
    ],
)
def test_timeout_kills_as_it_says(line: str, seconds: float | None) -> None:
    parent = found({}, "bash", line)
    assert parent is not None
    assert parent.name.startswith("timeout")
    assert parent.seconds == seconds


@pytest.mark.parametrize(
    ("environment", "parent"),
    [
        ({"SLURM_JOB_ID": "1"}, parents.SLURM),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, parents.KUBERNETES),
        ({"CI": "true", "GITHUB_ACTIONS": "true"}, parents.GITHUB),
        ({"CI": "true", "BUILDKITE": "true"}, parents.BUILDKITE),
        ({"JENKINS_URL": "http://x"}, parents.JENKINS),
        ({"CI": "1"}, parents.OTHER_CI),
        ({"CI": "false"}, None),
        ({}, None),
    ],
)
def test_hosts_are_recognised_by_their_variables(environment: dict[str, str], parent: Parent | None) -> None:
    assert found(environment, "bash", "sshd") == parent


def test_other_parents() -> None:
    assert found({}, "sh", "/usr/sbin/atd -f") == found({}, "CRON", "/usr/sbin/cron") == parents.SCHEDULED
    assert found(cgroups="0::/user.slice/run-u12.scope\n") == found(cgroups="0::/run-r1f.scope/x") == parents.SCOPE
    assert found(cgroups="0::/user.slice/session-3.scope\n") is None
    assert found(pid1=True) == parents.CONTAINER
    assert recognise({}, [[], ["bash"]], "", is_pid1=False, no_hangup=True) == parents.NOHUP


def judge(parent: Parent | None, ladder: Ladder, granted: float | None = None) -> Finding:
    findings = run_checks(replace(GOOD, started_by=parent), Plan(1, ladder, granted=granted))
    return next(each for each in findings if each.name == "parent")


def test_graces_that_do_not_fit_are_reported_with_some_that_do() -> None:
    finding = judge(parents.GITHUB, Ladder())
    assert finding.verdict is CheckStatus.DEGRADED
    named = re.search(r"--grace ([\d.]+) --term-grace ([\d.]+) fits", finding.remedy)
    assert named is not None
    assert judge(parents.GITHUB, Ladder(float(named[1]), float(named[2]), 0.5)).verdict is CheckStatus.WORKS
    assert judge(parents.GITHUB, Ladder(), 30.0).verdict is CheckStatus.WORKS
    assert judge(parents.NOHUP, Ladder(1e6)).verdict is CheckStatus.WORKS
    assert judge(None, Ladder()).verdict is CheckStatus.WORKS


def test_a_pod_may_be_on_a_spot_node() -> None:
    finding = judge(parents.KUBERNETES, Ladder())
    assert (finding.verdict, "on a Spot node: 15 s" in finding.remedy) == (CheckStatus.DEGRADED, True)
    assert judge(parents.KUBERNETES, Ladder(7, 3)).verdict is CheckStatus.WORKS


def test_the_page_names_graces_that_fit() -> None:
    """Each row with graces and a time."""
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if "--term-grace" in line]
    checked = 0
    for row in rows:
        if len(row) < 5:
            continue
        named = re.search(r"--grace ([\d.]+) --term-grace ([\d.]+)", row[4])
        granted = [int(text) for text in re.findall(r"\b(\d+) s\b", row[3])]
        assert named is not None
        assert fit(Ladder(float(named[1]), float(named[2])), min(granted)).fits, row
        checked += 1
    assert checked >= 6

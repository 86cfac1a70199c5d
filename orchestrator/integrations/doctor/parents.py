"""Recognise what has started this process, and how long it waits between its signals and SIGKILL. Pure.

docs/hosts.md has the table for people; a test compares both.
"""

from __future__ import annotations

import getopt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.integrations.slurm.job import DEFAULT_KILL_WAIT, read_job


@dataclass(frozen=True, slots=True)
class Parent:
    """What has started this process. `seconds`: from its first signal to SIGKILL; None: it sends no SIGKILL.

    `stop`: what it sends, for people. `short`: the seconds of a variant of it that grants less.
    """

    name: str
    seconds: float | None
    stop: str
    short: float | None = None


SLURM: Final = Parent("Slurm", DEFAULT_KILL_WAIT, "SIGTERM, and SIGKILL after its KillWait")
KUBERNETES: Final = Parent("Kubernetes", 30.0, "SIGTERM, and SIGKILL after terminationGracePeriodSeconds", short=15.0)
GITHUB: Final = Parent("GitHub Actions", 10.0, "SIGINT, SIGTERM after 7.5 s, SIGKILL after 2.5 s more")
BUILDKITE: Final = Parent("Buildkite", 10.0, "SIGTERM, and SIGKILL after its cancel-grace-period")
JENKINS: Final = Parent("Jenkins", 5.0, "SIGTERM, and SIGKILL after its SoftKillWaitSeconds")
OTHER_CI: Final = Parent("a CI runner", 10.0, "SIGTERM or SIGINT, and SIGKILL within seconds")
SCOPE: Final = Parent("systemd-run --scope", 90.0, "SIGTERM to all its processes, and SIGKILL after TimeoutStopSec")
CONTAINER: Final = Parent("a container", 10.0, "SIGTERM, and SIGKILL after the --time of docker or podman stop")
TIMEOUT: Final = Parent("timeout", None, "SIGTERM, and no SIGKILL without -k")
SCHEDULED: Final = Parent("at or cron", None, "nothing: only a shutdown stops it")
NOHUP: Final = Parent("nohup", None, "nothing: SIGHUP is ignored")

_RUNNERS: Final = (
    ("GITHUB_ACTIONS", GITHUB),
    ("BUILDKITE", BUILDKITE),
    ("JENKINS_URL", JENKINS),
    ("CI", OTHER_CI),
)
_SHORT, _LONG = "fk:ps:v", ["foreground", "kill-after=", "preserve-status", "signal=", "verbose"]
"""The options of timeout(1)."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def recognise(
    environment: Mapping[str, str], ancestors: Sequence[Sequence[str]], cgroups: str, *, is_pid1: bool, no_hangup: bool
) -> Parent | None:
    """Return what has started this process; None if that is not known.

    `ancestors`: the command lines of its ancestors, its parent's first. `cgroups`: /proc/self/cgroup. `no_hangup`:
    SIGHUP is ignored. What is nearest counts, because it kills first.
    """
    for words in ancestors:
        found = _of_command(words)
        if found is not None:
            return found
    if read_job(environment) is not None:
        return SLURM
    if "KUBERNETES_SERVICE_HOST" in environment:
        return KUBERNETES
    for variable, runner in _RUNNERS:
        if environment.get(variable, "").lower() not in ("", "0", "false"):
            return runner
    if is_pid1:
        return CONTAINER
    if re.search(r"/run-[^/\n]*\.scope(/|$)", cgroups, re.MULTILINE):
        return SCOPE
    return NOHUP if no_hangup else None


def _of_command(words: Sequence[str]) -> Parent | None:
    """Return what a command line is, if it is one that counts."""
    name = words[0].rpartition("/")[2].lstrip("-") if words else ""
    if name in ("atd", "cron", "crond", "anacron"):
        return SCHEDULED
    return _timeout(words[1:]) if name == "timeout" else None


def _timeout(words: Sequence[str]) -> Parent:
    """Return what `timeout` with these words does: its -k says how long after SIGTERM it sends SIGKILL."""
    try:
        options, _ = getopt.getopt(list(words), _SHORT, _LONG)
    except getopt.GetoptError:
        return TIMEOUT
    texts = [value for option, value in options if option in ("-k", "--kill-after")]
    found = re.fullmatch(r"(\d+(?:\.\d*)?)([smhd]?)", texts[-1] if texts else "", re.ASCII)
    seconds = float(found[1]) * _UNITS[found[2]] if found is not None else 0.0
    if not seconds:  # 0 turns it off
        return TIMEOUT
    return Parent("timeout -k", seconds, f"SIGTERM, and SIGKILL {seconds:g} s later")

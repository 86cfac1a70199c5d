"""What a doctor says of hosts of every kind, and what it finds out about this one."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.core.ladder import Ladder
from orchestrator.integrations.doctor import survey
from orchestrator.integrations.doctor.checks import CheckStatus, Finding, Plan, run_checks, worst
from orchestrator.integrations.doctor.facts import Disk, HostFacts
from orchestrator.integrations.doctor.survey import file_system, limit_files
from orchestrator.integrations.systemd.service import ServiceProperties
from orchestrator.journal import open_journal
from runtime.capabilities import Visibility

GOOD_DISK = Disk("/data/q.db", "/data", exists=True, writable=True, kind="ext4", free=1 << 40)
GOOD = HostFacts(
    system="Linux", python=(3, 11, 7), executable="/usr/bin/python3", cgroup="v2", leaf=True, kills_cgroups=True,
    subreaper=True, pidfd=True, memfd=True, files=1024, files_hard=4096, processes=None, memory=8 << 30, pid=1234,
    parent="bash", ignored=(), service=None, notified=False, terminal=True, disk=GOOD_DISK,
)  # fmt: skip
PLAN = Plan(workers=4, ladder=Ladder(10, 5, 2))
OF_SYSTEMD = ServiceProperties("batch.service", is_main=True, kill_mode="mixed", stop_seconds=90.0)


def finding(name: str, plan: Plan = PLAN, **changes: Any) -> Finding:
    """The one of that name, on a good host with these changes."""
    found = run_checks(dataclasses.replace(GOOD, **changes), plan)
    return next(each for each in found if each.name == name)


def disk(**changes: Any) -> Disk:
    return dataclasses.replace(GOOD_DISK, **changes)


def test_a_good_host_works() -> None:
    found = run_checks(GOOD, PLAN)
    assert worst(found) is CheckStatus.WORKS
    assert not any(each.remedy for each in found)
    assert len({each.name for each in found}) == len(found) == 17


@pytest.mark.parametrize(
    ("name", "changes", "verdict", "word"),
    [
        ("system", {"system": "Darwin"}, "degraded", "only Linux"),
        ("python", {"python": (3, 10, 14)}, "broken", "3.11 or later"),
        ("start method", {"executable": None}, "broken", "program of its own"),
        ("shared memory", {"memfd": False}, "degraded", "3.17"),
        ("containment", {"leaf": False}, "works", ""),
        ("containment", {"leaf": False, "kills_cgroups": False, "cgroup": "v1"}, "works", ""),
        ("containment", {"leaf": False, "subreaper": False}, "degraded", "detached grandchildren"),
        ("/proc", {"visibility": Visibility.NONE}, "degraded", "by signs of life alone; mount it"),
        ("/proc", {"visibility": Visibility.FOREIGN}, "degraded", "--mount-proc"),
        ("/proc", {"visibility": Visibility.FOREIGN, "leaf": False}, "degraded", "if the guardian is killed"),
        ("/proc", {"visibility": Visibility.RESTRICTED}, "degraded", "hidepid"),
        ("prctl", {"subreaper": False}, "degraded", "seccomp profile"),
        ("prctl", {"subreaper": False, "system": "Darwin"}, "works", ""),
        ("pidfd", {"pidfd": False}, "degraded", "5.3"),
        ("pid 1", {"pid": 1}, "works", ""),
        ("pid 1", {"pid": 7, "parent": "sh", "terminal": False}, "degraded", "exec form"),
        ("signals", {"ignored": ("SIGTERM",)}, "degraded", "restore the default"),
        ("signals", {"ignored": ("SIGHUP",)}, "works", ""),
        ("open files", {"files": 50}, "broken", "ulimit -n 84"),
        ("open files", {"files": 50, "files_hard": 60}, "broken", "LimitNOFILE="),
        ("open files", {"files": None}, "works", ""),
        ("processes", {"processes": 20}, "degraded", "TasksMax="),
        ("processes", {"processes": 5}, "broken", "fewer --workers"),
        ("memory", {"memory": 100 << 20}, "degraded", "--memory-limit"),
        ("memory", {"memory": None}, "works", ""),
        ("systemd", {"service": OF_SYSTEMD, "notified": True}, "works", ""),
        ("systemd", {"service": dataclasses.replace(OF_SYSTEMD, stop_seconds=10.0)}, "degraded", "TimeoutStopSec="),
        ("terminal", {"terminal": False}, "works", ""),
        ("journal", {"disk": None}, "works", ""),
        ("journal", {"disk": None, "refused": "not supported yet"}, "broken", "not supported yet"),
        ("journal", {"refused": "it is a directory"}, "broken", "it is a directory"),
        ("journal", {"disk": disk(exists=False)}, "broken", "make its directory"),
        ("journal", {"disk": disk(writable=False)}, "broken", "writable"),
        ("journal", {"disk": disk(free=0)}, "broken", "full"),
        ("journal", {"disk": disk(free=None)}, "works", ""),
        ("journal", {"disk": disk(free=1 << 20)}, "degraded", "almost full"),
        ("journal", {"disk": disk(kind="nfs4")}, "degraded", "local disk"),
        ("journal", {"disk": disk(kind="fuse.sshfs")}, "degraded", "local disk"),
        ("journal", {"disk": disk(kind="tmpfs")}, "degraded", "next boot"),
        ("journal", {"disk": disk(kind="overlay")}, "degraded", "volume"),
    ],
)
def test_what_is_found(name: str, changes: dict[str, Any], verdict: str, word: str) -> None:
    """Whatever does not work tells how to mend it, and nothing else does."""
    found = finding(name, **changes)
    assert found.verdict == verdict
    assert word in found.remedy
    assert bool(found.remedy) == (found.verdict is not CheckStatus.WORKS)


def test_a_grace_that_is_given_is_believed() -> None:
    """It need not be systemd that grants it."""
    assert finding("host's grace", Plan(4, Ladder(10, 5, 2), granted=8)).verdict is CheckStatus.DEGRADED
    assert finding("host's grace", Plan(4, Ladder(10, 5, 2), granted=30)).verdict is CheckStatus.WORKS


def test_the_worst_decides() -> None:
    """0, 1 or 2."""
    codes = [worst(run_checks(dataclasses.replace(GOOD, **changes), PLAN)).exit_code for changes in (
        {}, {"pidfd": False}, {"pidfd": False, "executable": None},
    )]  # fmt: skip
    assert codes == [0, 1, 2]


MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /tmp rw - tmpfs tmpfs rw
31 22 0:27 / /home rw - nfs4 server:/home rw
32 31 0:28 / /home/me/my\040disk rw - xfs /dev/sdb rw
33 22 0:29 / /srv rw - ext4 /dev/vdb rw
34 22 0:30 / /srv rw - btrfs /dev/vdc rw
35 22 0:31 / /mnt/dön\134er rw - zfs /dev/vdd rw
garbage
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"), ("/var/lib", "ext4"), ("/tmp", "tmpfs"), ("/tmpfile", "ext4"), ("/home/me", "nfs4"),
        ("/home/me/my disk/runs", "xfs"), ("/srv/x", "btrfs"), ("/mnt/dön\\er/x", "zfs"),
    ],
)  # fmt: skip
def test_the_file_system_of_a_directory(directory: str, kind: str) -> None:
    """By the longest mount point, the last one mounted there."""
    assert file_system(directory, MOUNTS) == kind


def test_this_host_is_looked_at(tmp_path: Path) -> None:
    """Whatever it is like; and it stays as it was."""
    facts = survey.collect_facts(str(tmp_path / "q.db"))
    assert facts.pid == os.getpid()
    assert facts.disk is not None
    assert facts.disk.writable
    assert not (tmp_path / "q.db").exists()
    assert survey.collect_facts("postgresql://db/x").disk is None
    named = survey.collect_facts(f"sqlite:///{tmp_path}/q.db").disk
    assert named is not None
    assert named.path == str(tmp_path / "q.db")
    deep = survey.collect_facts(str(tmp_path / "a" / "b" / "q.db")).disk
    assert deep is not None
    assert (deep.exists, deep.directory) == (False, str(tmp_path))


def test_what_is_there_already_must_be_a_journal(tmp_path: Path) -> None:
    """A directory can be written to, and a text file too; neither is a journal."""
    other = tmp_path / "notes"
    other.write_text("not a journal at all\n" * 100)
    assert "it is a directory" in survey.collect_facts(str(tmp_path)).refused
    assert "another kind of file" in survey.collect_facts(str(other)).refused
    with open_journal(tmp_path / "q.db"):
        assert survey.collect_facts(str(tmp_path / "q.db")).refused == ""


def test_limits_are_looked_for_in_our_own_cgroup_and_above() -> None:
    """A service's MemoryMax= and TasksMax= are not at the top."""
    both = "12:cpu,cpuacct:/x\n4:memory:/docker/abc\n1:name=systemd:/y\n0::/system.slice/batch.service\n"
    found = [str(path) for path in limit_files(both, "memory", "memory.max", "memory.limit_in_bytes")]
    assert found[:3] == [
        "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    assert "/sys/fs/cgroup/system.slice/batch.service/memory.max" in found
    assert "/sys/fs/cgroup/unified/memory.max" in found
    assert not any(path.startswith("/sys/fs/memory") for path in found)
    assert limit_files("nonsense\n\n", "memory", "a", "b") is not None


def test_the_command_tells_people_and_machines(tmp_path: Path) -> None:
    """One line each, with a cure below; or one JSON object. The exit code is the verdict's."""
    words = ["doctor", "--workers", "2", "--journal", str(tmp_path / "no" / "q.db")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 2, told.output
    assert "broken    journal" in told.stdout
    assert "→ make its directory" in told.stdout
    parsed = CliRunner().invoke(app, [*words, "--json"])
    assert parsed.exit_code == 2
    found = json.loads(parsed.stdout)
    assert (found["verdict"], found["workers"]) == ("broken", 2)
    assert {each["name"] for each in found["findings"]} >= {"journal", "open files", "containment"}

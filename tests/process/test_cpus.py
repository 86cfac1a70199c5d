"""The default number of executors is what this process may use, not what the machine has."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cpus import quotas

ASK = "from orchestrator import Settings; print(Settings().workers)"


def ask(*before: str, options: tuple[str, ...] = (), **environment: str) -> int:
    """What a new process takes as its default."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHON_CPU_COUNT"}
    done = subprocess.run(
        [*before, sys.executable, *options, "-c", ASK],
        capture_output=True,
        text=True,
        timeout=60,
        env={**env, **environment},
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset")
def test_an_affinity_mask_counts() -> None:
    first = min(os.sched_getaffinity(0))
    assert ask("taskset", "-c", str(first)) == 1


def test_what_python_was_told_counts_more() -> None:
    assert ask(PYTHON_CPU_COUNT="7") == 7
    assert ask(options=("-X", "cpu_count=5"), PYTHON_CPU_COUNT="7") == 5
    assert ask(options=("-E",), PYTHON_CPU_COUNT="7") == ask()
    assert ask(PYTHON_CPU_COUNT="default") == ask()


@pytest.fixture
def v1_group() -> Iterator[Path]:
    """A cgroup of version 1 for processor time, where this process may make one."""
    group = Path("/sys/fs/cgroup/cpu", f"quiesce-test-{uuid.uuid4().hex[:8]}")
    try:
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text("100000")
    except OSError as error:
        pytest.skip(f"no cgroup of version 1 can be made: {error}")
    yield group
    group.rmdir()


def enter(group: Path) -> tuple[str, ...]:
    return ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")


def test_a_quota_of_version_1_counts(v1_group: Path) -> None:
    unlimited = ask(*enter(v1_group))
    for quota, expected in ((50_000, 1), (100_000, 1), (150_000, 2), (10_000_000, unlimited)):
        (v1_group / "cpu.cfs_quota_us").write_text(str(quota))
        assert ask(*enter(v1_group)) == min(expected, unlimited)
    (v1_group / "cpu.cfs_quota_us").write_text("100000")
    inner = v1_group / "inner"
    inner.mkdir()
    try:
        assert ask(*enter(inner)) == 1  # the limit is that of the one above
    finally:
        inner.rmdir()


def test_a_quota_of_version_2_counts() -> None:
    group = Path("/sys/fs/cgroup", f"quiesce-test-{uuid.uuid4().hex[:8]}")
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("no cgroups of version 2")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        if not (group / "cpu.max").exists():
            pytest.skip("the controller of processor time is not passed on")
        (group / "cpu.max").write_text("50000 100000")
        assert ask(*enter(group)) == 1
    finally:
        group.rmdir()


def proc(tmp_path: Path, cgroup: str, *mounts: str) -> Path:
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / "mountinfo").write_text("".join(f"{mount}\n" for mount in mounts))
    return tmp_path


def test_a_tree_of_version_2_is_read_up_to_its_mount(tmp_path: Path) -> None:
    """As in a container: the mount's root is the container's own cgroup."""
    tree = tmp_path / "fs"
    (tree / "a/b").mkdir(parents=True)
    (tree / "cpu.max").write_text("max 100000\n")
    (tree / "a/cpu.max").write_text("250000 100000\n")
    (tree / "a/b/cpu.max").write_text("400000 100000\n")
    mount = f"30 1 0:26 {{root}} {tree} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
    assert sorted(quotas(proc(tmp_path, "0::/a/b\n", mount.format(root="/")))) == [2.5, 4.0]
    assert sorted(quotas(proc(tmp_path, "0::/x/y/a/b\n", mount.format(root="/x/y")))) == [2.5, 4.0]
    assert quotas(proc(tmp_path, "0::/elsewhere\n", mount.format(root="/x/y"))) == []
    assert quotas(proc(tmp_path, "0::/../up\n", mount.format(root="/"))) == []
    assert math.ceil(2.5) == 3


@pytest.mark.parametrize("text", ["", "nonsense\n", "0::/\n", "4:cpu,cpuacct:/gone\n"])
def test_what_cannot_be_read_is_no_limit(tmp_path: Path, text: str) -> None:
    assert quotas(proc(tmp_path, text, "too short", f"30 1 0:26 / {tmp_path} rw - cgroup cgroup rw,cpu,cpuacct")) == []
    assert quotas(tmp_path / "no proc") == []

"""runtime.process.oom: the kernel's counter of OOM kills, of cgroups of both versions and of the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.process.oom import OomCounter

EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 0\n"


def file(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    file(tmp_path, "proc/vmstat", "nr_free_pages 5\noom_kill 70\n")
    file(tmp_path, "proc/meminfo", "MemTotal:        2048 kB\nMemFree: 7 kB\n")
    return tmp_path


def test_the_nearest_cgroup_with_a_counter_counts(root: Path) -> None:
    file(root, "proc/self/cgroup", "0::/user/app\n")
    file(root, "sys/fs/cgroup/user/app/cgroup.procs", "")
    file(root, "sys/fs/cgroup/user/memory.events", EVENTS.format(4))
    file(root, "sys/fs/cgroup/user/memory.max", "1048576\n")
    file(root, "sys/fs/cgroup/memory.max", "max\n")
    counter = OomCounter(root)
    assert (counter.kills(), counter.limit()) == (4, 1 << 20)
    file(root, "sys/fs/cgroup/user/memory.events", EVENTS.format(6))
    assert counter.kills() == 6


def test_a_container_sees_its_cgroup_as_the_root(root: Path) -> None:
    file(root, "proc/self/cgroup", "0::/../../pod/container\n")
    file(root, "sys/fs/cgroup/memory.events", EVENTS.format(2))
    assert OomCounter(root).kills() == 2


def test_the_first_version_of_cgroups(root: Path) -> None:
    file(root, "proc/self/cgroup", "4:memory,hugetlb:/box\n1:cpu:/\n0::/\n")
    file(root, "sys/fs/cgroup/memory/box/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    file(root, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", "4096\n")
    file(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    counter = OomCounter(root)
    assert (counter.kills(), counter.limit()) == (1, 4096)


def test_without_a_cgroup_the_host_counts(root: Path) -> None:
    counter = OomCounter(root)
    assert (counter.kills(), counter.limit()) == (70, 2 << 20)


def test_a_host_that_does_not_say(tmp_path: Path) -> None:
    counter = OomCounter(tmp_path)
    assert (counter.kills(), counter.limit()) == (None, None)


def test_this_host_can_be_read() -> None:
    counter = OomCounter()
    kills, limit = counter.kills(), counter.limit()
    assert kills is None or kills >= 0
    assert limit is None or limit > 1 << 20

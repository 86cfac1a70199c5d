"""A sandbox that refuses system calls (seccomp): all is done and ended all the same; one line says what is lost."""

from __future__ import annotations

import errno
import re
import signal
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support.chaos.places import without_cgroups
from tests.support.cli import QUIESCE, Running
from tests.support.eof import ExitDetector
from tests.support.sandbox import command_without
from tests.support.sync import AnnouncementPipe

GRACES = ("--grace", "0.3", "--term-grace", "0.3")

NOTICED = {
    "prctl": "prctl",
    "pidfd_open": "pidfd",
    "memfd_create": "sealed memory",
    "fcntl:F_ADD_SEALS": "sealed memory",
}
"""Calls without which something is lost, and what it is called."""

WITH_FALLBACK = ("prctl", "eventfd2", "waitid", "pidfd_open", "pidfd_send_signal", "memfd_create", "fcntl:F_ADD_SEALS")
USED_BY_LIBRARIES = (
    "epoll_create1", "tgkill", "prlimit64", "getpriority", "setpriority", "sched_getaffinity", "ptrace",
    "close_range", "getxattr", "statfs", "unshare", "signalfd4", "timerfd_create", "process_vm_readv", "setitimer",
    "fcntl:F_OFD_GETLK",
)  # fmt: skip

REFUSED = [
    *((call, errno.EPERM) for call in (*WITH_FALLBACK, *USED_BY_LIBRARIES)),
    *((call, errno.ENOSYS) for call in (*WITH_FALLBACK, "clone3")),  # without threads, EPERM, no program works
]


def start(folder: Path, wrapper: list[str], post: AnnouncementPipe, proof: ExitDetector, *options: str) -> Running:
    """Three tasks that are done at once, and one that detaches a grandchild and waits."""
    tasks = [{"key": str(n), "n": n} for n in range(3)]
    waiting = {"key": "waiting", "post": post.path, "proof": proof.path}
    source = str(jsonl(folder / "in.jsonl", [*tasks, waiting]))
    words = ["run", agent("sandboxed:double_or_detach"), "-i", source, "-j", str(folder / "j.db"), "-w", "1"]
    return Running([*wrapper, *QUIESCE, *words, *GRACES, *options], timeout=55)


@pytest.mark.parametrize(("call", "answer"), REFUSED, ids=[f"{call}-{errno.errorcode[no]}" for call, no in REFUSED])
def test_a_run_and_its_stop(tmp_path: Path, call: str, answer: int) -> None:
    wrapper = command_without(call, answer=answer)
    if not wrapper:
        pytest.skip("there are no filters for this machine")
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        ExitDetector() as proof,
        start(tmp_path, wrapper, post, proof) as running,
    ):
        post.expect(deadline=30)
        running.send(signal.SIGTERM)
        done = running.wait()
        proof.wait(5)
    assert done.returncode == -signal.SIGTERM, done
    assert "Traceback" not in done.stderr
    seen = look(tmp_path / "j.db")
    assert seen.values == {"0": 0, "1": 2, "2": 4}
    assert [event["missing"] for event in seen.named("host.degraded")] == ([[NOTICED[call]]] if call in NOTICED else [])
    (verified,) = seen.named("cleanup.verified")
    assert verified["remaining"] == []


@pytest.mark.parametrize(
    ("call", "named"),
    [("sendmsg", "pass descriptors over a socket"), ("recvmsg", "pass descriptors"), ("clone3", "start new thread")],
)
def test_what_it_cannot_do_without_is_named_at_the_start(tmp_path: Path, call: str, named: str) -> None:
    wrapper = command_without(call)
    if not wrapper:
        pytest.skip("there are no filters for this machine")
    source = str(jsonl(tmp_path / "in.jsonl", range(3)))
    with Running(
        [*wrapper, *QUIESCE, "run", agent("plain:double"), "-i", source, "-j", str(tmp_path / "j.db")]
    ) as running:
        done = running.wait()
    assert done.returncode == 2, done
    assert re.search(f"^quiesce: the guardian cannot be started: .*{named}", done.stderr, re.MULTILINE), done
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("world", ["as it is", "no cgroup"])
def test_without_prctl_a_detached_process_does_not_survive_the_supervisor(tmp_path: Path, world: str) -> None:
    hidden = without_cgroups() if world == "no cgroup" else []
    wrapper = command_without("prctl")
    if not wrapper or (world == "no cgroup" and not hidden):
        pytest.skip("this host cannot withhold them")
    wrapper = [*hidden, *wrapper]
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        ExitDetector() as proof,
        start(tmp_path, wrapper, post, proof) as running,
    ):
        post.expect(deadline=30)
        running.send(signal.SIGKILL)
        running.popen.wait()
        proof.wait(5)


def test_the_number_of_executors_is_known_without_being_told(tmp_path: Path) -> None:
    wrapper = command_without("sched_getaffinity")
    if not wrapper:
        pytest.skip("there are no filters for this machine")
    source = str(jsonl(tmp_path / "in.jsonl", range(3)))
    words = ["run", agent("plain:double"), "-i", source, "-j", str(tmp_path / "j.db")]
    with Running([*wrapper, *QUIESCE, *words]) as running:
        done = running.wait()
    assert done.returncode == 0, done


def test_doctor_says_what_is_refused(tmp_path: Path) -> None:
    wrapper = command_without("prctl", "pidfd_open", "memfd_create", "prlimit64", "sched_getaffinity", "statfs")
    if not wrapper:
        pytest.skip("there are no filters for this machine")
    with Running([*wrapper, *QUIESCE, "doctor", "-j", str(tmp_path / "j.db")]) as running:
        done = running.wait()
    assert done.returncode == 1, done
    for name in ("prctl", "pidfd", "shared memory"):
        assert re.search(f"^degraded +{name}", done.stdout, re.MULTILINE), done
    assert done.stderr == ""

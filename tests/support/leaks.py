"""No test leaves anything behind: the fixtures that look, tell, and clean up for the next test.

`no_leaks` looks at everything; `no_leaks_inside`, for tests without processes, at the threads, descriptors and handlers
of this process only. A lane's conftest.py imports the one that it needs.

How each kind is found:

    process, zombie   descendants of this process; anything started with the test's own marker in its
                      environment, wherever it hangs in the tree; any bare fork that still holds this
                      process's birthmark, a pipe that no other process can have
    fd                /proc/self/fd before and after, named by what they lead to
    thread            threading.enumerate()
    segment           /dev/shm where it is this session's own (tests.support.private_shm), so that whatever is new is
                      the test's; else, what a process of the test holds or has named after this process's pid
    handler           every signal's disposition, the wake-up fd and the mask
    file              whatever is left in the test's own TMPDIR
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from tests.support import procs
from tests.support.private_shm import SHM, has_private_shm

_SETTLE = 3.0  # seconds; what is already ending takes a moment, on a busy machine a longer one
_BIRTHMARK = os.pipe()  # CLOEXEC, so only forks of this process without an exec have it


@dataclass(frozen=True)
class ProcessSnapshot:
    """What this process had when the test began."""

    fds: dict[int, str]
    threads: set[int | None]
    handlers: dict[int, Any]
    mask: set[int]

    def look(self) -> list[Leak]:
        """Everything that this process has now and had not before."""
        return [leak for check in (_new_threads, _new_fds, _changed_handlers) for leak in check(self)]


@dataclass(frozen=True)
class Snapshot(ProcessSnapshot):
    """How things stood when the test began, here and around."""

    marker: str
    tmp: str
    born: float
    last_pid: bytes
    segments: set[str]

    def look(self) -> list[Leak]:
        """Everything that is here now and was not before. Processes come first: they may own the rest."""
        around = [leak for check in (_processes, _new_segments, _left_files) for leak in check(self)]
        return around + super().look()


@dataclass(frozen=True)
class Leak:
    """One thing left behind: its kind, its description, and how to be rid of it."""

    kind: str
    what: str
    clean: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


@pytest.fixture(autouse=True)
def no_leaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the test at its teardown when it leaves anything behind, then clean up for the next one."""
    tmp_path_factory.getbasetemp()  # made on first use: better in the real TMPDIR than in this test's
    before = snapshot_all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(before.marker, "1")
        patch.setenv("TMPDIR", before.tmp)
        patch.setattr(tempfile, "tempdir", before.tmp)
        yield
    try:
        report = clean(wait_settled(before))
    finally:
        shutil.rmtree(before.tmp, ignore_errors=True)
    if report:
        pytest.fail(report, pytrace=False)


@pytest.fixture(autouse=True)
def no_leaks_inside() -> Iterator[None]:
    """Fail the test at its teardown when it leaves a thread, a descriptor or a handler. For tests without processes."""
    before = ProcessSnapshot(**snapshot())
    yield
    report = clean(wait_settled(before))
    if report:
        pytest.fail(report, pytrace=False)


def snapshot() -> dict[str, Any]:
    """Look at everything that a test could leave behind in this process."""
    return {
        "fds": _fds(),
        "threads": {thread.ident for thread in threading.enumerate()},
        "handlers": _handlers(),
        "mask": set(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    }


def snapshot_all() -> Snapshot:
    """Look at everything a test could leave behind, and give it a TMPDIR and a marker of its own."""
    return Snapshot(
        marker=f"{procs.TEST_MARK}{uuid.uuid4().hex[:12]}",
        tmp=tempfile.mkdtemp(prefix="qt-", dir="/tmp"),
        born=_uptime() - 0.01,
        last_pid=_last_pid(),
        segments=_segments(),
        **snapshot(),
    )


def wait_settled(before: ProcessSnapshot) -> list[Leak]:
    """What is left once everything that was already on its way out has gone."""
    found = before.look()
    end = time.monotonic() + _SETTLE
    if found:
        gc.collect()
    while found and time.monotonic() < end:
        found = before.look()
        time.sleep(0.005)
    return found


def clean(found: list[Leak]) -> str:
    """Be rid of what was found, and return the report."""
    report = [str(leak) for leak in found]
    for leak in found:
        leak.clean()
    return "left behind by this test:\n  " + "\n  ".join(report) if report else ""


# -- processes ------------------------------------------------------------------------------------------------


def owned_processes(before: Snapshot) -> list[psutil.Process]:
    """Every process that the test started, directly or through others, zombies included."""
    if procs.HAVE_PROC and _last_pid() == before.last_pid:
        return []
    birthmark = f"pipe:[{os.fstat(_BIRTHMARK[0]).st_ino}]"

    below = [each for each in procs.descendants(os.getpid()) if _is_young(each.pid, before)]
    known = {each.pid for each in below}

    def ours(pid: int) -> bool:
        if pid in known or not _is_young(pid, before):
            return False
        return procs.environment_has(pid, before.marker) or bool(procs.holds(pid, birthmark))

    return below + procs.select(ours)


def _processes(before: Snapshot) -> Iterator[Leak]:
    for process in owned_processes(before):
        stat = procs.stat_of(process.pid)
        if stat is None and procs.HAVE_PROC:
            continue
        kind = "zombie" if stat and stat[0] == "Z" else "process"
        yield Leak(kind, procs.describe(process), lambda each=process: procs.kill_all([each]))  # type: ignore[misc]


def _is_young(pid: int, before: Snapshot) -> bool:
    stat = procs.stat_of(pid)
    return not procs.HAVE_PROC or (stat is not None and stat[2] >= before.born)


def _last_pid() -> bytes:
    """The last pid that the kernel gave away: unchanged means that no process was started meanwhile."""
    return procs.read_bytes("/proc/loadavg").rpartition(b" ")[2]


def _uptime() -> float:
    text = procs.read_bytes("/proc/uptime")
    return float(text.split()[0]) if text else 0.0


# -- threads, descriptors, segments, handlers, files ---------------------------------------------------------


def _new_threads(before: ProcessSnapshot) -> Iterator[Leak]:
    for thread in threading.enumerate():
        if thread.ident not in before.threads:
            kind = "daemon thread" if thread.daemon else "thread"
            target = getattr(thread, "_target", None)
            yield Leak("thread", f"{thread.name} ({kind}, runs {target or type(thread).__name__})", lambda: None)


def _fds() -> dict[int, str]:
    found = {}
    if procs.HAVE_PROC:
        for name in os.listdir("/proc/self/fd"):
            try:
                found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
            except OSError:  # the descriptor of the listing itself
                continue
    return found


def _new_fds(before: ProcessSnapshot) -> Iterator[Leak]:
    for fd, target in sorted(_fds().items()):
        if before.fds.get(fd) != target:
            was = before.fds.get(fd)
            yield Leak("fd", f"{fd} -> {target}" + (f" (was {was})" if was else ""), lambda: None)
    for fd, target in before.fds.items():
        if not _is_open(fd):
            yield Leak("fd", f"{fd} -> {target} was closed by the test", lambda: None)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _segments() -> set[str]:
    """Files only: a directory there is no shared memory, and nothing that we make."""
    try:
        return {each.name for each in os.scandir(SHM) if not each.is_dir()}
    except OSError:
        return set()


def _new_segments(before: Snapshot) -> Iterator[Leak]:
    """Where others use the same /dev/shm, a segment says nothing of who made it: only what surely is ours counts."""
    is_private = has_private_shm()
    for name in sorted(_segments() - before.segments):
        path = os.path.join(SHM, name)
        if is_private or str(os.getpid()) in re.findall(r"\d+", name) or _is_held_by_the_test(path, before):
            yield Leak("segment", path, lambda path=path: _unlink(path))  # type: ignore[misc]


def _is_held_by_the_test(path: str, before: Snapshot) -> bool:
    ours = {os.getpid(), *(each.pid for each in owned_processes(before))}
    return any(path.encode() in procs.read_bytes(f"/proc/{pid}/maps") or bool(procs.holds(pid, path)) for pid in ours)


def _unlink(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _changed_handlers(before: ProcessSnapshot) -> Iterator[Leak]:
    for number, was in before.handlers.items():
        now = signal.getsignal(number)
        if now != was and not (number == signal.SIGALRM and now == signal.SIG_DFL):  # a timer of pytest-timeout, over
            what = f"{_name(number)} is {now}, was {was}"
            yield Leak("handler", what, lambda number=number, was=was: _restore(number, was))  # type: ignore[misc]
    mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    if mask != before.mask:
        names = ", ".join(_name(number) for number in sorted(mask ^ before.mask))
        yield Leak("handler", f"the signal mask changed: {names}", lambda: _unmask(before))
    wakeup = signal.set_wakeup_fd(-1)
    if wakeup != -1:
        signal.set_wakeup_fd(wakeup)
        yield Leak("handler", f"the wake-up fd is still {wakeup}", _no_wakeup)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _restore(number: int, was: Any) -> None:
    if was is not None:
        signal.signal(number, was)


def _unmask(before: ProcessSnapshot) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)


def _no_wakeup() -> None:
    signal.set_wakeup_fd(-1)


def _left_files(before: Snapshot) -> Iterator[Leak]:
    for name in sorted(os.listdir(before.tmp) if os.path.isdir(before.tmp) else []):
        path = os.path.join(before.tmp, name)
        yield Leak("file", path, lambda: None)

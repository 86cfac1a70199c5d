"""Find, inspect and signal processes: the one owner of kill and psutil.

A process is always pid *and* create time, never a bare pid (psutil#2400): between finding and signalling it, the pid
can be reused. Where the kernel has pidfds they close the rest of that gap.

Without a /proc of this PID namespace (procfs.py) psutil is not used: it would find unrelated processes. This process's
own children, and processes with a pidfd, are known all the same (unlisted.py); of others nothing is known.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import psutil

from runtime.model import escape_surrogates
from runtime.process import environments, procfs, unlisted
from runtime.process.run_mark import has_mark
from runtime.process.unlisted import HAS_WAITID, UnlistedProcess, is_child

Process = psutil.Process | UnlistedProcess
"""A process: pid and create time, or a child or pidfd."""

RUN_VARIABLE = "QUIESCE_RUN_ID"
"""Environment variable of every process of a run, so that strays can be found as a last resort."""

SUPERVISOR_VARIABLE = "QUIESCE_SUPERVISOR"
"""Environment variable with the supervisor's token: two journals may have a run of the same id at the same time."""

SLOT_VARIABLE = "QUIESCE_SLOT"
"""Environment variable with the `slot.incarnation` of the executor above a process. Of fixed width, see `mark_slot`."""

_SLOT_WIDTH = 24
SLOT_PLACEHOLDER = "-" * _SLOT_WIDTH
"""Value of SLOT_VARIABLE when the guardian is exec'd."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PTRACE_DETACH = 17

VISIBILITY = procfs.inspect()
_SEES_ALL = VISIBILITY is procfs.Visibility.FULL
_IS_BLIND = not VISIBILITY.is_usable
_HAVE_PROC = not _IS_BLIND and os.path.exists(f"/proc/{os.getpid()}/stat")
_HAVE_CHILDREN_FILES = _HAVE_PROC and os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # CONFIG_PROC_CHILDREN

_END_SECONDS = 1.0
"""Seconds for which an executor repeats ending its own descendants."""

try:
    _libc: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True)
except OSError:
    _libc = None


_START_SECONDS = 10.0
"""Upper bound in seconds of the search for an earlier supervisor's processes, on a host without processor time."""


def become_subreaper() -> bool:
    """Make this process the subreaper of its descendants (prctl(2)). Return False where that is not available."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def stop_tracing(pid: int, signum: int) -> None:
    """Detach from a child that called PTRACE_TRACEME and was stopped by a signal, and deliver that signal to it."""
    if _libc is not None:
        _libc.ptrace(_PTRACE_DETACH, ctypes.c_long(pid), ctypes.c_void_p(0), ctypes.c_void_p(signum))


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill this process when the parent's forking thread ends (prctl(2)). Return False without that.

    Closes the race between fork and prctl: when `parent` is gone already, this process ends at once.
    """
    armed = _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    return armed


def open_parent_pidfd() -> int | None:
    """Return a descriptor that becomes readable when the parent dies (pidfd_open(2)); None where there is none."""
    parent = os.getppid()
    try:
        fd = os.pidfd_open(parent)
    except (AttributeError, OSError):
        return None
    if os.getppid() != parent:  # it died, and the pidfd may be of another process
        os.close(fd)
        return None
    return fd


def sigcont_on_parent_death() -> bool:
    """Have the kernel send SIGCONT when the parent dies: a stopped guardian takes over, too. False: not available."""
    return _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def wake_parent() -> None:
    """Send SIGCONT to the parent. Its pid cannot be stale: a process that called `die_with_parent` dies with it."""
    with suppress(OSError):
        os.kill(os.getppid(), signal.SIGCONT)


def end_with_descendants() -> NoReturn:
    """Kill every descendant of this process, and the process itself."""
    try:
        if _IS_BLIND:
            become_subreaper()
            unlisted.end_children(_END_SECONDS)
        send_signal(children(), signal.SIGKILL)
    finally:  # in any case: a process that has changed its user may not even be able to import a codec
        os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError  # not reached


def thread_ids(pid: int) -> list[int]:
    """Return the thread ids of a process, its main thread's first; only that one where the host shows no others."""
    try:
        listed = sorted(map(int, os.listdir(f"/proc/{pid}/task"))) if _HAVE_PROC else []
    except (OSError, ValueError):
        listed = []
    return [pid, *(thread for thread in listed if thread != pid)]


def is_signal_held(pid: int, thread: int, signum: int) -> bool:
    """Whether a signal is pending for a thread or blocked by it, as it is while its handler runs (proc(5)).

    False where the host does not say.
    """
    return bool(procfs.held_signals(pid, thread) >> (signum - 1) & 1) if _HAVE_PROC else False


def signal_thread(pid: int, thread: int, signum: int) -> None:
    """Signal one thread of a child that is not waited for (tgkill(2)), or at least its process.

    Raises ProcessLookupError when there is no such thread, or the process is a zombie.
    """
    if _libc is not None and hasattr(_libc, "tgkill"):
        if _libc.tgkill(pid, thread, int(signum)) == 0:
            return
        if ctypes.get_errno() == errno.ESRCH:
            raise ProcessLookupError(errno.ESRCH, "no such thread")
    if thread == pid:
        os.kill(pid, signum)  # also where a sandbox refuses tgkill


def _prctl(option: int, value: int) -> bool:
    if _libc is None or not hasattr(_libc, "prctl"):
        return False
    return bool(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)


def slot_mark(slot: int, incarnation: int) -> str:
    """Return the value of SLOT_VARIABLE below one incarnation of an executor."""
    return f"{slot}.{incarnation}".ljust(_SLOT_WIDTH, "-")


def mark_slot(slot: int, incarnation: int) -> None:
    """Mark this process and all its future descendants as belonging to a slot.

    Programs that it execs get the mark with os.environ. A child that only forks keeps the environment block
    of the guardian's exec, which is what /proc/PID/environ shows; so the mark is also written *into* that
    block, over the placeholder of the same length. A daemon that forks twice without exec is found by it.
    """
    mark = slot_mark(slot, incarnation)
    if _libc is not None:
        _libc.getenv.restype = ctypes.c_void_p
        address = _libc.getenv(SLOT_VARIABLE.encode())
        if address and len(ctypes.string_at(address)) == _SLOT_WIDTH:
            ctypes.memmove(address, mark.encode(), _SLOT_WIDTH)
    os.environ[SLOT_VARIABLE] = mark


def session_of(pid: int) -> int | None:
    """Return the session id of a process, or None if it is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def variable_of(pid: int, name: str) -> str:
    """Return an environment variable of a process; empty if it is unset, or the process is gone or may not be read.

    For processes of a run; for others see environments.py. Also empty while a thread of the process waits for a disk:
    it may hold the lock of the memory map, and the reader would wait for that.
    """
    if _IS_BLIND or _waits_for_disk(pid):
        return ""
    if not _HAVE_PROC:
        with suppress(psutil.Error, OSError):
            return psutil.Process(pid).environ().get(name, "")
        return ""
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        _, found, rest = (b"\0" + file.read()).partition(b"\0" + name.encode() + b"=")
        return rest.partition(b"\0")[0].decode(errors="replace") if found else ""
    return ""


def _waits_for_disk(pid: int) -> bool:
    """Return whether a thread of a process is in uninterruptible sleep. Never blocks."""
    if not _HAVE_PROC:
        return False
    with suppress(OSError):
        threads = map(int, os.listdir(f"/proc/{pid}/task"))
        return any(procfs.stat_fields(pid, thread)[:1] == [b"D"] for thread in threads)
    return False


def start_time(pid: int) -> int:
    """Return the start time of a process in ticks since boot; 0 if it is gone or unknown."""
    with suppress(ValueError, IndexError):
        return int(procfs.stat_fields(pid)[19]) if _HAVE_PROC else 0
    return 0


def parent_of(pid: int) -> int | None:
    """Return the parent's pid, or None if the process is gone."""
    if not _HAVE_PROC:
        with suppress(psutil.Error, OSError):
            return psutil.Process(pid).ppid()
        return None
    with suppress(ValueError, IndexError):
        return int(procfs.stat_fields(pid)[1])
    return None


def slot_of(pid: int) -> str:
    """Return the slot mark of a process; empty if it has none."""
    return variable_of(pid, SLOT_VARIABLE)


def children(pid: int | None = None, *, recursive: bool = True, until: float = math.inf) -> list[Process]:
    """Return the living descendants of a process (default: of this one), parents before their children.

    Without /proc only children of this process are known. The search ends at `until` (monotonic seconds).
    """
    root = os.getpid() if pid is None else pid
    if not _HAVE_CHILDREN_FILES and not _IS_BLIND:
        try:
            return [each for each in psutil.Process(root).children(recursive=recursive) if is_running(each)]
        except psutil.Error:
            return []
    pids = child_pids(root)
    if recursive:
        for each in pids:  # grows while it is walked: breadth first
            if time.monotonic() >= until:
                break
            pids.extend(child_pids(each))
    return processes(itertools.takewhile(lambda _: time.monotonic() < until, pids))


def child_pids(pid: int) -> list[int]:
    """Return the pids of a process's children, zombies included, from the kernel's list of each thread's children.

    They cost one read a thread; psutil must read every process of the host, and does that for every call.
    """
    found: list[int] = []
    if _IS_BLIND:
        return unlisted.child_pids() if pid == os.getpid() else found
    if not _HAVE_CHILDREN_FILES:
        with suppress(psutil.Error):
            found = [child.pid for child in psutil.Process(pid).children()]
        return found
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with (
                suppress(OSError),
                open(f"/proc/{pid}/task/{thread}/children", encoding="utf-8") as file,
            ):
                found.extend(map(int, file.read().split()))
    return found


def processes(pids: Iterable[int]) -> list[Process]:
    """Return the processes with these pids that still exist."""
    found: list[Process] = []
    for pid in pids:
        process = _listed(pid) or _unlisted(pid)
        if process is not None:
            found.append(process)
    return found


def _listed(pid: int) -> Process | None:
    """Return the process as /proc has it, unless it is a zombie there."""
    if _IS_BLIND:
        return None
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return None
    return None if _is_zombie(process) else process


def _unlisted(pid: int) -> Process | None:
    """Return a process that /proc hides."""
    if _SEES_ALL:
        return None
    try:
        process = UnlistedProcess(pid)
    except OSError:
        return None
    return process if process.is_running() else None


def _is_zombie(process: Process) -> bool:
    """Return whether a process that was found just now is a zombie. One small read where psutil makes several."""
    if not _HAVE_PROC:
        return not is_running(process)
    return procfs.stat_fields(process.pid)[:1] in ([], [b"Z"], [b"X"])


@dataclass(frozen=True, slots=True)
class ProcessActivity:
    """Nanoseconds of processor time that a process has used, and whether it waits for a processor or has one."""

    used: int
    is_runnable: bool


def activity(pid: int) -> ProcessActivity | None:
    """Return what a process is doing (proc(5): stat, schedstat); None where that is unknown."""
    if not _HAVE_PROC:
        return None
    known = _ticks_used(pid)
    if known is None:
        return None
    used, is_runnable = known  # ticks: too coarse for one that sleeps most of the time
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/schedstat", "rb") as file:
        used = int(file.read().split()[0])
    return ProcessActivity(used, is_runnable)


def _ticks_used(pid: int) -> tuple[int, bool] | None:
    """Return the processor time of all threads in ticks, and whether the main one has a processor or waits for one.

    Never waits for the process's memory.
    """
    fields = procfs.stat_fields(pid)
    with suppress(ValueError, IndexError):
        return int(fields[11]) + int(fields[12]), fields[0] == b"R"
    return None


def tree_rss(pid: int) -> int:
    """Return the memory of a process and its descendants in bytes (RSS: shared pages count for each of them)."""
    return sum(map(_rss, (pid, *(process.pid for process in children(pid))))) if not _IS_BLIND else 0


def _rss(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def memory_of_tree(pid: int, *, above: int = 0) -> int:
    """Return the memory of a process and its descendants in bytes, shared pages counted once (PSS, proc(5)).

    Where the kernel does not say (macOS, before Linux 4.14, a process of another user), its whole RSS is counted. PSS
    is never more than RSS and costs much more: while RSS is not `above` this size, RSS is returned.

    May take long: the kernel walks the page tables, and waits for the process while that changes its mappings.
    """
    rss = tree_rss(pid)
    if rss <= above or not _HAVE_PROC:
        return rss
    total = 0
    for each in (pid, *(process.pid for process in children(pid))):
        pss = _proportional(each)
        total += _rss(each) if pss is None else pss
    return total


def _proportional(pid: int) -> int | None:
    """Return the PSS of one process in bytes; None if it cannot be known."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return None


@dataclass(frozen=True, slots=True)
class ProcessorUse:
    """Seconds of processor time of all threads, and whether the main one has a processor or waits for one."""

    seconds: float
    is_runnable: bool


def processor_use(pid: int) -> ProcessorUse | None:
    """Return the processor time of a process, in user and kernel mode; None if unknown."""
    if _IS_BLIND:
        return None
    if not _HAVE_PROC:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            times = process.cpu_times()
            return ProcessorUse(float(times.user + times.system), process.status() == psutil.STATUS_RUNNING)
        return None
    known = _ticks_used(pid)
    return None if known is None else ProcessorUse(known[0] / os.sysconf("SC_CLK_TCK"), known[1])


def has_children() -> bool:
    """Return whether this process has any child at all, a zombie included. One system call.

    True where that is unknown: waitid(2) is refused, and there is no /proc.
    """
    if not HAS_WAITID:
        return _IS_BLIND or bool(child_pids(os.getpid()))
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def has_zombie() -> bool:
    """Return whether a child has ended and was not reaped yet. One system call; the child is not reaped."""
    return unlisted.zombie_pid() is not None if HAS_WAITID else bool(zombies())


def zombies() -> list[Process]:
    """Return the children that have ended and were not reaped yet; without /proc, one of them."""
    if _IS_BLIND:
        pid = unlisted.zombie_pid()
        return [] if pid is None else [UnlistedProcess(pid)]
    found: list[Process] = []
    with suppress(psutil.Error):
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.status() == psutil.STATUS_ZOMBIE:
                    found.append(child)
    return found


def is_stopped(process: Process) -> bool:
    """Return whether a signal or a tracer has stopped a process."""
    if isinstance(process, UnlistedProcess):
        return process.is_stopped()
    try:
        return bool(process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP))
    except psutil.Error:
        return False


def is_running(process: Process) -> bool:
    """Return whether a process still exists and is not a zombie."""
    if isinstance(process, UnlistedProcess):
        return process.is_running()
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def processes_of_supervisor(
    token: str,
    mark: int = 0,
    since: int = 0,
    besides: Collection[int] = (),
    seconds: float = environments.PATIENCE,
) -> list[Process]:
    """Return the living processes with a supervisor's token in their environment, or with its mark, except this one.

    The last resort. `since`: the start time of the supervisor's first guardian (see `start_time`); older processes, and
    those in `besides`, are not read. Any user can copy a mark (run_mark.py), so it counts only for processes of this
    user, unless that is root. `seconds` bounds the reading of environments.
    """
    young = [pid for pid in _others() if pid not in besides and start_time(pid) >= since]
    marked = [pid for pid in young if has_mark(pid, mark) and (os.geteuid() == 0 or _is_of_this_user(pid))]
    if marked:  # the others are read when there are none of these any more: that takes a separate process
        return processes(marked)
    found = _variables(young, SUPERVISOR_VARIABLE, seconds=seconds)
    return processes(pid for pid in young if found[pid][SUPERVISOR_VARIABLE] == token)


def of_predecessor(token: str, mark: int) -> list[Process]:
    """Return the living processes of an earlier supervisor, by its token or its mark.

    Only processes of this user: any user may copy a token into the environment of a process of their own. (A process
    that an agent runs as another user is found by the run's cgroup.)
    """
    ours = [pid for pid in _others() if _is_of_this_user(pid)]
    found = _variables(ours, SUPERVISOR_VARIABLE, seconds=_START_SECONDS)
    return processes(pid for pid in ours if has_mark(pid, mark) or found[pid][SUPERVISOR_VARIABLE] == token)


def _variables(
    pids: Iterable[int], *names: str, seconds: float = environments.PATIENCE
) -> Mapping[int, Mapping[str, str]]:
    """Return environment variables of processes of any kind; none of those that cannot be read."""
    asked = list(pids)
    found = (
        environments.read(asked, names, seconds=seconds)
        if _HAVE_PROC and sys.executable
        else _variables_of_all(asked, names)
    )
    return {pid: found.get(pid, dict.fromkeys(names, "")) for pid in asked}


def _variables_of_all(pids: Iterable[int], names: Iterable[str]) -> dict[int, Mapping[str, str]]:
    return {pid: {name: variable_of(pid, name) for name in names} for pid in pids}


def _others() -> Iterator[int]:
    """Yield the pids of this host except this process's; none where the host lists none (no /proc on Linux)."""
    try:
        pids = [] if _IS_BLIND else psutil.pids()
    except (IndexError, OSError):  # psutil expects a process in every /proc
        pids = []
    return (pid for pid in pids if pid != os.getpid())


def _is_of_this_user(pid: int) -> bool:
    """Return whether a process runs as this user. The owner of /proc/PID does not tell: memory may be protected."""
    try:
        uids = psutil.Process(pid).uids()
    except psutil.Error:
        return False
    return (uids.real, uids.effective) == (os.getuid(), os.geteuid())


def pid_exists(pid: int) -> bool:
    """Return whether another process with this pid exists."""
    return pid != os.getpid() and bool(processes([pid]))


def send_signal(processes: Iterable[Process], signum: int, *, fresh: bool = False) -> int:
    """Signal processes, leaves first, each only if its pid is not stale; SIGTERM is followed by SIGCONT.

    A stopped process takes no SIGTERM before it is continued. `fresh`: the processes were listed just now, so that the
    pids of children cannot be stale. Return how many were signalled: some may not be (setuid).
    """
    sent: list[Callable[[int], None]] = []
    for process in reversed(list(processes)):
        with suppress(psutil.Error, OSError):
            deliver: Callable[[int], None] = process.send_signal
            if fresh and is_child(process.pid):
                deliver = partial(os.kill, process.pid)
            deliver(signum)
            sent.append(deliver)
    if signum == signal.SIGTERM:
        for deliver in sent:  # afterwards: a crowd that continues leaves no processor time for the others
            with suppress(psutil.Error, OSError):
                deliver(signal.SIGCONT)
    return len(sent)


def describe(process: Process) -> str:
    """Return `pid (command line)`, shortened, for a log line."""
    if isinstance(process, UnlistedProcess):
        return f"{process.pid} (not shown by /proc)"
    try:
        words = "" if _waits_for_disk(process.pid) else " ".join(process.cmdline())
    except psutil.Error:
        words = "?"
    return f"{process.pid} ({escape_surrogates(words or _short_name(process))[:80]})"


def _short_name(process: psutil.Process) -> str:
    """Return the kernel's name of a process; psutil's is longer, but reading it touches the process's memory."""
    if not _HAVE_PROC:
        with suppress(psutil.Error):
            return str(process.name())
    with suppress(OSError), open(f"/proc/{process.pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return "?"

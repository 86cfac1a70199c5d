"""Find the processes of a supervisor by their marks, on the whole host: the last resort.

Where the host lists no processes (Linux without /proc), nothing is found.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping

from runtime.process import environments, procfs
from runtime.process.marks import SUPERVISOR_VARIABLE, variable_of
from runtime.process.psutil_later import psutil
from runtime.process.run_mark import has_mark
from runtime.process.tree import Process, processes, start_time
from runtime.stop_limits import ENVIRONMENTS_TIMEOUT, PREVIOUS_SEARCH_TIMEOUT


def of_supervisor(
    token: str,
    mark: int = 0,
    since: int = 0,
    besides: Collection[int] = (),
    seconds: float = ENVIRONMENTS_TIMEOUT,
) -> list[Process]:
    """Return the living processes with a supervisor's token in their environment, or with its mark, except this one.

    `since`: the start time of the supervisor's first guardian (see `start_time`); older processes, and those in
    `besides`, are not read. Any user can copy a mark (run_mark.py), so it counts only for processes of this user,
    unless that is root. `seconds` bounds the reading of environments.
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
    found = _variables(ours, SUPERVISOR_VARIABLE, seconds=PREVIOUS_SEARCH_TIMEOUT)
    return processes(pid for pid in ours if has_mark(pid, mark) or found[pid][SUPERVISOR_VARIABLE] == token)


def _variables(
    pids: Iterable[int], *names: str, seconds: float = ENVIRONMENTS_TIMEOUT
) -> Mapping[int, Mapping[str, str]]:
    """Return environment variables of processes of any kind; none of those that cannot be read."""
    asked = list(pids)
    found = (
        environments.read(asked, names, seconds=seconds)
        if procfs.HAS_PROC and sys.executable
        else _variables_of_all(asked, names)
    )
    return {pid: found.get(pid, dict.fromkeys(names, "")) for pid in asked}


def _variables_of_all(pids: Iterable[int], names: Iterable[str]) -> dict[int, Mapping[str, str]]:
    return {pid: {name: variable_of(pid, name) for name in names} for pid in pids}


def _others() -> Iterator[int]:
    """Yield the pids of this host except this process's; none where the host lists none (no /proc on Linux)."""
    try:
        pids = [] if procfs.IS_BLIND else psutil.pids()
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

"""When a test hangs: tell what every process of it was doing.

First, each process that handles SIGUSR1 (a supervisor, by promise) is asked for its stacks while all is as it was. Then
the hard way, which also works for what is wedged in C: children are started with PYTHONFAULTHANDLER=1
(tests.conftest), so a SIGABRT makes each write the stacks of all its threads to its standard error and end. The
leaves go first, so that a supervisor still lives to pass on what its executors write.
"""

from __future__ import annotations

import os
import re
import signal
import time

import psutil

from tests.support import procs

_PAUSE = 1.0  # seconds for a process to write its stacks
_PATIENCE = 10.0  # seconds for a process to write its stacks and end


def dump_and_kill(processes: list[psutil.Process]) -> str:
    """Describe processes, then make each write its stacks and end, the leaves first. Ends them all."""
    lines = [procs.describe(each) for each in processes]
    asked = [each for each in processes if _catches(each.pid, signal.SIGUSR1)]
    if asked:
        procs.signal_all(asked, signal.SIGUSR1)
        time.sleep(_PAUSE)  # the test has failed already; nothing tells when a dump is complete
    for each in sorted(processes, key=_depth, reverse=True):
        procs.signal_all([each], signal.SIGABRT)
        procs.signal_all([each], signal.SIGCONT)
        psutil.wait_procs([each], timeout=_PATIENCE)
    procs.kill_all(processes)
    return "\n".join(lines)


def dump_and_kill_children() -> None:
    """Dump and kill every descendant; describe them on the real standard error (pytest captured nothing of theirs)."""
    children = procs.descendants(os.getpid())
    if children:
        text = f"\n+++ children of the stuck test (stacks follow on their standard error)\n{dump_and_kill(children)}\n"
        os.write(2, text.encode())


def _catches(pid: int, number: signal.Signals) -> bool:
    caught = re.search(rb"^SigCgt:\s*([0-9a-f]+)$", procs.read_bytes(f"/proc/{pid}/status"), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def _depth(process: psutil.Process) -> int:
    try:
        return len(process.parents())
    except psutil.Error:
        return 0

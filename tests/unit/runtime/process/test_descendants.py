"""The end of processes that are no descendants of this one. (Fork bombs: chaos/test_fork_bombs.py.)"""

from __future__ import annotations

import signal
import subprocess
import time

import psutil

from runtime.process import tree
from runtime.process.descendants import end_repeatedly


def test_what_was_stopped_does_not_stay_so_when_a_later_search_misses_it() -> None:
    """A search that reads environments on a host without processor time does not find all."""
    with subprocess.Popen(["sleep", "60"]) as seen_once, subprocess.Popen(["sleep", "60"]) as seen_late:
        searches: list[list[tree.Process]] = [[psutil.Process(seen_once.pid)], [psutil.Process(seen_late.pid)], []]
        assert end_repeatedly(lambda: searches.pop(0), time.monotonic() + 5) == []
        assert seen_once.wait(10) == seen_late.wait(10) == -signal.SIGKILL

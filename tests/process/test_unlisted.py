"""Children of this process, found and watched without /proc."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runtime.process import unlisted


def test_children_are_found_without_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in unlisted.child_pids()
        process = unlisted.UnlistedProcess(child.pid)
        assert process.is_running()
        child.communicate(b"\n")
        assert not process.is_running()
    assert child.pid not in unlisted.child_pids()


def test_nobody_is_no_process() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    with pytest.raises(ProcessLookupError):
        unlisted.UnlistedProcess(child.pid)

"""An agent with a child whose memory cannot be read for now. Loaded by path."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from runtime import ExecutionState
from tests.support.procs import read_bytes
from tests.support.sync import announce
from tests.support.wait import wait_until


def starts(task: dict[str, Any], state: ExecutionState) -> None:
    """Start the command, let it go on once it waits for its file, say its pid, and wait to be interrupted."""
    child = subprocess.Popen(task["command"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    wait_until(lambda: b"request_wait_answer" in _waits_for(child.pid))
    child.stdin.write(b"\n")
    child.stdin.flush()
    announce(task["post"], child.pid)
    state.sleep(1000)


def _waits_for(pid: int) -> bytes:
    """Where the threads of a process are in the kernel."""
    return b" ".join(read_bytes(f"/proc/{pid}/task/{thread}/wchan") for thread in os.listdir(f"/proc/{pid}/task"))

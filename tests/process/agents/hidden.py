"""An agent that detaches a process which nothing in its environment, session or memory ties to the run. By path."""

from __future__ import annotations

import os
import signal
import time

from runtime import ExecutionState
from tests.support.eof import hold

_PR_SET_DUMPABLE = 4
_HIDE = (
    f"import ctypes, os, sys, time; assert ctypes.CDLL(None).prctl({_PR_SET_DUMPABLE}, 0, 0, 0, 0) == 0;"
    " os.write(int(sys.argv[1]), b'%d\\n' % os.getpid()); os.close(int(sys.argv[1])); time.sleep(600)"
)


def detaches(task: dict[str, str], state: ExecutionState) -> str:
    """Detach it (setsid, a double fork, an exec without environment, not dumpable), and wait for the run's end."""
    post = os.open(task["post"], os.O_WRONLY)
    os.set_inheritable(post, True)
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            hold(task["proof"])
            python = os.path.realpath("/proc/self/exe")
            os.execve(python, [python, "-I", "-S", "-c", _HIDE, str(post)], {})
        os._exit(0)
    os.waitpid(child, 0)
    os.close(post)
    time.sleep(60)
    return "never"

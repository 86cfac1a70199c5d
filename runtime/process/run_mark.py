"""A mark that every process of a run carries, even with a cleared environment, a session of its own or hidden memory.

*Theory.* Whether a process belongs to a run can be read from the environment, unless it was cleared (`env -i`) or
cannot be read (a process that is not dumpable). A limit of resources is inherited over fork and exec as well, and
/proc/PID/limits can be read by every user and never waits for the memory of the process. RLIMIT_RTTIME limits real-time
processes alone (setrlimit(2)), and nearly no program uses it: the guardian sets its soft limit to a number that is made
of the supervisor's token and far beyond any time, more than 70,000 years, and leaves the hard limit as it is. So it
limits nothing, and marks the processes of the run.

Where either limit is in use (LimitRTTIME=), it is left alone, and there is no mark. A process that changes its own
soft limit has none either. Any user can read a mark and give it to a process of their own, so it counts only for
processes of this user, unless this user is root (an agent of root may have changed its user).

Rejected: the supervisor as a second subreaper, which adopts the orphans of a killed guardian: it is the user's program,
which may have children, and orphans of them, that are not of the run; nothing distinguishes them.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Final

if sys.platform == "linux":
    import resource

_LEAST: Final = 1 << 61
"""The smallest mark, in microseconds; the largest is twice as much."""

_LINE: Final = b"Max realtime timeout"


def is_mark(number: int) -> bool:
    """Return whether a number can be the mark of a run."""
    return _LEAST <= number < 2 * _LEAST


def set_mark(mark: int) -> bool:
    """Mark this process and its future descendants. Return False where there is no such limit, or it is in use."""
    if sys.platform != "linux" or not is_mark(mark):
        return False
    with suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
        if hard == resource.RLIM_INFINITY and (soft == hard or is_mark(soft)):  # the mark of a run around this one
            resource.setrlimit(resource.RLIMIT_RTTIME, (mark, hard))
            return True
    return False


def has_mark(pid: int, mark: int) -> bool:
    """Return whether a process carries a mark. One small read that never waits for the process."""
    if not is_mark(mark):
        return False
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/limits", "rb") as file:
        text = file.read()
        at = text.find(_LINE)
        return at >= 0 and text[at + len(_LINE) :].split(None, 1)[0] == b"%d" % mark
    return False

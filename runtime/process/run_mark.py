"""A mark that every process of a run carries, whatever it does to its environment, its session and its memory.

*Theory.* Who belongs to a run can be read from the environment, unless it was cleared (`env -i`) or cannot be read (a
process that is not dumpable). A limit of resources is inherited over fork and exec as well, and /proc/PID/limits can
be read by everybody and never waits for the memory of the process. RLIMIT_RTTIME limits real-time processes alone
(setrlimit(2)), and nearly no program uses it: the guardian sets its soft limit to a number that is made of the
supervisor's token and far beyond any time, more than 70,000 years, and leaves the hard limit as it is. So it limits
nothing, and says who is of the run.

Where either limit is in use (LimitRTTIME=), it is left alone, and there is no mark. A process that changes its own
soft limit has none either. Everybody can read a mark and take it for a process of his own, so it counts for processes
of this user only, unless this user is root (an agent of root's may have changed its user).

Rejected: the supervisor as a second subreaper, which adopts the orphans of a killed guardian: it is the user's program,
which may have children, and orphans of them, that are not of the run; nothing tells the ones from the others.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Final

if sys.platform == "linux":
    import resource

_LEAST: Final = 1 << 61
"""Microseconds: marks are from here to twice as much."""

_LINE: Final = b"Max realtime timeout"


def is_mark(number: int) -> bool:
    """Whether a number can be the mark of a run."""
    return _LEAST <= number < 2 * _LEAST


def set_mark(mark: int) -> bool:
    """Mark this process and all that will descend from it. False where there is no such limit, or it is in use."""
    if sys.platform != "linux" or not is_mark(mark):
        return False
    with suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
        if hard == resource.RLIM_INFINITY and (soft == hard or is_mark(soft)):  # that of a run around this one
            resource.setrlimit(resource.RLIMIT_RTTIME, (mark, hard))
            return True
    return False


def has_mark(pid: int, mark: int) -> bool:
    """Whether a process carries a mark. One small read, which never waits for the process."""
    if not is_mark(mark):
        return False
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/limits", "rb") as file:
        text = file.read()
        at = text.find(_LINE)
        return at >= 0 and text[at + len(_LINE) :].split(None, 1)[0] == b"%d" % mark
    return False

"""Reset stop signals that were ignored when the tests were started."""

from __future__ import annotations

import signal
from types import FrameType


def reset_ignored_signals() -> None:
    """Do not pass an inherited SIG_IGN on to the programs that we start; for ourselves it stays as it is.

    `nohup` ignores SIGHUP, and a shell without job control SIGINT for what it starts in the background. quiesce takes
    that for a wish: it, and every program that is compared with it, would rightly go on when stopped.
    """
    for signum in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, _ignore)  # a handler becomes the default action in whatever is exec'd


def _ignore(number: int, frame: FrameType | None) -> None:
    """As SIG_IGN, but for this process alone."""

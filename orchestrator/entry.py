"""The first lines of the command: before anything heavy is imported, Ctrl-C must already end it cleanly."""

from __future__ import annotations

import importlib
import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line. A Ctrl-C during the imports ends the process by SIGINT, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.getpid() == 1:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, _leave)
    importlib.import_module("orchestrator.cli").main()


def _leave(signum: int, _frame: FrameType | None) -> None:
    """The default action, which the kernel does not take for PID 1: an early stop must not be lost."""
    os._exit(128 + signum)

"""The first lines of the command: before anything heavy is imported, Ctrl-C must already end it cleanly."""

from __future__ import annotations

import importlib
import signal


def main() -> None:
    """Run the command line. A Ctrl-C during the imports ends the process by SIGINT, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    importlib.import_module("orchestrator.cli").main()

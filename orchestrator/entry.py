"""Start the `quiesce` command: Ctrl-C must end it cleanly even before the heavy imports."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from types import FrameType

from orchestrator.quick_answers import find_answer, print_and_exit


def main() -> None:
    """Run the command line. A Ctrl-C during the imports ends the process by SIGINT, without a traceback.

    A stop signal that is blocked in the inherited mask is unblocked, because otherwise only SIGKILL would end this
    process. A signal that is ignored stays ignored.
    """
    gc.disable()  # while modules are imported: they make much, and drop little
    _open_standard_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.getpid() == 1:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, _exit_by_signal_number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    answer = find_answer(sys.argv[1:])
    if answer is not None:
        print_and_exit(*answer)
    _load_runtime()
    if sys.argv[1:2] == ["probe"]:  # every few seconds: 0.04 s of processor time, instead of 0.4 s with all imports
        sys.exit(importlib.import_module("orchestrator.integrations.probes.client").main(sys.argv[2:]))
    if sys.argv[1:2] == ["status"]:
        importlib.import_module("orchestrator.quick_status").answer(sys.argv[2:])
    importlib.import_module("orchestrator.cli.quick_command").answer(sys.argv[1:])
    command_line = importlib.import_module("orchestrator.cli.command_line")
    gc.enable()
    command_line.main()


def _load_runtime() -> None:
    """Import quiesce's package `runtime`, even if PYTHONPATH has a `runtime` of the user first, which is for agents."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path.insert(0, home)
    try:
        importlib.import_module("runtime")
    finally:
        sys.path.remove(home)


def _open_standard_streams() -> None:
    """Open those standard streams that the parent closed (`2>&-`), so that no journal gets their descriptors."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8", closefd=False))


def _exit_by_signal_number(signum: int, _frame: FrameType | None) -> None:
    """Exit with 128 + n: the kernel takes no default action for PID 1, and an early stop must not be lost."""
    os._exit(128 + signum)

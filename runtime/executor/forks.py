"""Children that an agent forks are programs of their own: with default signal handlers, and an end of their own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn


def reset_handlers_in_forks(handlers: Mapping[signal.Signals, Any]) -> None:
    """Make forks of this process reset these handlers to the default action, from now on.

    Signals are blocked meanwhile, so that none comes to it while it still has them. There is no way back.
    """
    forking = threading.local()

    def hold() -> None:
        forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, handlers)

    def let_go() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, forking.mask)

    def disown() -> None:
        for signum, ours in handlers.items():
            if signal.getsignal(signum) == ours:
                signal.signal(signum, signal.SIG_DFL)
        let_go()

    os.register_at_fork(before=hold, after_in_parent=let_go, after_in_child=disown)


def end_fork(error: BaseException | None) -> NoReturn:
    """End a child that the agent forked, as the end of a program would: `sys.exit` has its usual meaning."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = (error.code or 0) & 0xFF
    try:
        if isinstance(error, SystemExit) and code == 1 and not isinstance(error.code, int):
            sys.stderr.write(f"{error.code}\n")
        elif error is not None and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # whatever its streams or its error say to that: it must not go back into the executor's loop
        os._exit(code)

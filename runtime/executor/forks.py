"""Give children that an agent forks the default signal handlers: they are programs of their own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from typing import Any


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

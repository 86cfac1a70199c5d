"""The signal handlers of an executor: installed, and installed again after a task that has changed them."""

from __future__ import annotations

import signal
import time

# those of `signal` make enums of every answer, which is a sixth of a tiny task
from _signal import getsignal, pthread_sigmask  # type: ignore[import-not-found]
from collections.abc import Callable, Iterable
from types import FrameType

from runtime import native
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.signals import STACK_DUMP_SIGNALS
from runtime.stop_limits import TERM_TIMEOUT

_SIGTERM, _SIGINT = int(signal.SIGTERM), int(signal.SIGINT)

TERM_LOOK = 0.001
"""Seconds between two checks for a SIGTERM that the guardian has announced."""


class SignalHandlers:
    """`on_term` handles SIGTERM. SIGINT, SIGHUP and `ignored` do nothing: only the supervisor acts on them.

    Of `ignored`, those that ask for stacks still do.
    """

    def __init__(
        self,
        flag: InterruptFlag,
        slot: int,
        on_term: Callable[[int, FrameType | None], None],
        ignored: Iterable[int] = (),
    ) -> None:
        self._flag = flag
        self._slot = slot
        self._on_term = on_term
        # `_ignore` is not SIG_IGN: that would be inherited by what the agent execs
        others = (signum for signum in ignored if signum not in STACK_DUMP_SIGNALS)
        self.handlers = {
            signal.SIGINT: _ignore,
            signal.SIGHUP: _ignore,
            **{signal.Signals(signum): _ignore for signum in others},
            signal.SIGTERM: on_term,
        }

    def install(self) -> None:
        """Install the handlers, then unblock the signals, so that none is lost."""
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.handlers)

    def restore(self) -> None:
        """Install the handlers again if the agent has changed or blocked SIGTERM."""
        if getsignal(_SIGTERM) != self._on_term or _SIGTERM in pthread_sigmask(signal.SIG_BLOCK, ()):
            self._flag.unmark_term(self._slot)
            self.install()

    def is_term_coming(self) -> bool:
        """Return whether the SIGTERM of the TERM rung is still to come to `on_term`."""
        return self._flag.is_term_rung(self._slot) and getsignal(_SIGTERM) == self._on_term

    def wait_for_term(self) -> bool:
        """Wait for the TERM rung of the last task: its SIGTERM would end a system call of the next task.

        C code may mistake that for the end of what it waited for, and the next task's outcome would be wrong. Return
        False if it did not come: it may still do so at any time, and there must be no task then.
        """
        until = time.monotonic() + TERM_TIMEOUT
        while self.is_term_coming():
            native.sleep(TERM_LOOK)
            if time.monotonic() > until:
                return False
        return True

    def interrupt_blocked_syscall(self) -> None:
        """End the main thread's system call if SIGTERM came and its handler does not run. For the control thread.

        A SIGTERM between the interpreter's last check for signals and the call does not end the call, and the handler
        would wait until the call returns. SIGINT is ignored here, but ends the call.
        """
        if self.is_term_coming() and getsignal(_SIGINT) == _ignore:
            signal.pthread_kill(native.MAIN_THREAD, signal.SIGINT)


def _ignore(_signum: int, _frame: FrameType | None) -> None:
    """Ignore a signal."""

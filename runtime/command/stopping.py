"""Take one command down the ladder: the stop signal to its group, SIGTERM to its tree, SIGKILL to its tree.

A stop of the run has the run's clock: the time of the next rung is in shared memory, and `term_rung` says when it
comes to the TERM rung (a second Ctrl-C brings that forward). A command over its own timeout, or one that is interrupted
by its key, has a clock of its own. SIGKILL comes a little before the executor's own end, so that the command's end is
known and recorded, and no command beside it pays.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress

from runtime.command.family import Family
from runtime.command.spec import CommandSetup
from runtime.execution.state import ExecutionState
from runtime.interrupts import term_rung
from runtime.interrupts.loop_waker import call_soon_threadsafe_or_false

KILL_MARGIN = 0.5
"""Seconds before the executor's own SIGKILL at which its commands get theirs; a quarter of --term-grace at most."""

KILL_PATIENCE = 2.0
"""Seconds that a command may take to end after SIGKILL. One that waits for a disk is left to the guardian."""


class StopFile:
    """The file by which a command learns of a stop: once that has begun, it has the Unix time of the next rung.

    It is replaced as a whole, so that a reader never sees half of a number.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._is_there = False

    def write(self, seconds: float) -> None:
        """Write when the next rung comes, in so many seconds."""
        beside = f"{self.path}.new"
        with suppress(OSError):  # a full disk stops no stop
            with open(beside, "w", encoding="ascii") as file:
                file.write(f"{time.time() + seconds:.3f}\n")
            os.replace(beside, self.path)
            self._is_there = True

    def remove(self) -> None:
        """Remove the file, if there is one."""
        if self._is_there:
            with suppress(OSError):
                os.unlink(self.path)


class CommandStop:
    """One descent. `ended`: done when the command has. `timed_out`: by its own timeout, and not by a stop."""

    def __init__(
        self,
        setup: CommandSetup,
        family: Family,
        stop_file: StopFile,
        ended: asyncio.Future[None],
        state: ExecutionState,
        *,
        timed_out: bool,
    ) -> None:
        self._setup = setup
        self._family = family
        self._stop_file = stop_file
        self._ended = ended
        self._state = state
        self._timed_out = timed_out
        self._term_reached = asyncio.Event()

    async def run(self) -> bool:
        """Take the command down the ladder until it has ended. Return False if it has not, even so."""
        loop = asyncio.get_running_loop()
        remove = term_rung.when_reached(lambda: call_soon_threadsafe_or_false(loop, self._term_reached.set))
        try:
            flag_seconds = self._seconds_to_term()
            self._stop_file.write(flag_seconds)
            self._family.signal_group(self._setup.stop_signal)
            if await self._wait(flag_seconds, until_term=True):
                return True
            self._stop_file.write(self._seconds_to_kill())
            self._family.terminate()
            if await self._wait(self._seconds_to_kill()):
                return True
            self._family.kill()
            return await self._wait(KILL_PATIENCE)
        finally:
            remove()

    def _seconds_to_term(self) -> float:
        if self._timed_out:
            return self._setup.timeout_grace
        remaining = self._state.remaining_grace
        return self._setup.grace if remaining is None else remaining

    def _seconds_to_kill(self) -> float:
        grace = self._setup.term_grace
        return grace - min(KILL_MARGIN, grace / 4)

    async def _wait(self, seconds: float, *, until_term: bool = False) -> bool:
        """Wait for the command's end so long at most, or until the TERM rung. Return whether it has ended.

        A stop that comes meanwhile changes nothing: the command is being stopped. Raises CancelledError when not a stop
        cancels this task, but the end of the loop.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        term = loop.create_task(self._term_reached.wait()) if until_term else None
        awaited: set[asyncio.Future[object]] = {self._ended, *([] if term is None else [term])}  # type: ignore[arg-type]
        try:
            while not self._ended.done() and (left := deadline - loop.time()) > 0:
                try:
                    await asyncio.wait(awaited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                except asyncio.CancelledError:
                    if self._state.settle_signal() is None:
                        raise
                if term is not None and term.done():
                    break
        finally:
            if term is not None:
                term.cancel()
        return self._ended.done()

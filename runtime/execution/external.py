"""Resources outside of the process tree: containers, virtual machines, cloud instances, temporary databases.

The end of a process does not end them, so a task hands in the command that removes one, its *undo*, before it makes the
resource. What happens then to task, executor, supervisor or host, the undo runs: see docs/undo.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
from _thread import LockType
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from runtime import native
from runtime.interrupts.interruptible import Interruptible
from runtime.interrupts.loop_waker import call_soon_threadsafe_or_false
from runtime.ipc.undo import UndoCommand, kept_environment, make_command
from runtime.ipc.undo_tickets import UndoTicket
from runtime.stop_limits import UNDO_TIMEOUT

LONGEST_RUN = 30
"""Characters of a run's id in the names of its resources."""

LOOK_SECONDS = 0.1
"""Seconds between two looks at the interrupt flag, which wakes no lock, while sync code waits for its record."""


class ExternalResource:
    """A resource whose undo is kept. Made by `state.external` and `state.defer_undo`.

    As a context manager, sync or async: entering waits until the undo is durable, and leaving has it undone. Leaving
    does not wait for that: the guardian runs the command. `name` is the resource's name, if it was given one.
    """

    def __init__(self, state: Interruptible, command: UndoCommand) -> None:
        self._state = state
        self.command = command
        self._ticket: UndoTicket | None = None
        self._is_local = False
        self._is_open = False

    @property
    def name(self) -> str:
        """The name of the resource; empty if `external` was given none."""
        return self.command.name

    @property
    def kind(self) -> str:
        """What the resource is, for people."""
        return self.command.kind

    @property
    def is_local(self) -> bool:
        """Whether there is no supervisor that could keep the undo: it runs in this process."""
        return self._is_local

    # -- keeping the record -------------------------------------------------------------------------

    def hold(self) -> Self:
        """Wait until the undo is kept. Blocking. Raises ExecutionInterrupted if the task is interrupted before."""
        self._defer()
        while self._ticket is not None and not self._ticket.is_held:
            self._state.raise_if_interrupted()
            changed = native.allocate_lock()
            changed.acquire()
            forget = self._state.add_waker(partial(_release, changed))
            self._ticket.when_held(partial(_release, changed))
            changed.acquire(timeout=LOOK_SECONDS)
            forget()
        return self

    async def hold_async(self) -> Self:
        """Wait until the undo is kept, in an event loop."""
        self._defer()
        if self._ticket is not None and not self._ticket.is_held:
            loop = asyncio.get_running_loop()
            held = loop.create_future()
            self._ticket.when_held(lambda: call_soon_threadsafe_or_false(loop, _resolve, held))
            await held
        return self

    def _defer(self) -> None:
        if self._is_open:
            raise RuntimeError("this resource was entered before")
        self._is_open = True
        self._ticket = self._state.host.defer_undo(self.command)
        self._is_local = self._ticket is None

    # -- the end of the resource --------------------------------------------------------------------

    def keep(self) -> None:
        """Keep the resource on purpose: its undo is struck out, and never runs."""
        self._release(kept=True)

    def undo(self) -> None:
        """Have the resource undone now, and not only at the end of the task. Does not wait for it."""
        self._release(kept=False)

    def _release(self, *, kept: bool) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if self._ticket is not None:
            self._state.host.release_undo(self._ticket, kept=kept)
        elif not kept:
            _run_here(self.command)

    def __enter__(self) -> Self:
        return self.hold()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()

    async def __aenter__(self) -> Self:
        return await self.hold_async()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_local and self._is_open:
            self._is_open = False
            await asyncio.shield(asyncio.to_thread(_run_here, self.command))
        else:
            self.undo()

    def __await__(self) -> Generator[Any, None, Self]:
        if self._is_open:  # sync code has waited already
            return _return(self).__await__()
        return self.hold_async().__await__()


async def _return(resource: Any) -> Any:
    return resource


@dataclass(frozen=True, slots=True)
class UndoOptions:
    """What `state.external` and `state.defer_undo` take besides the command."""

    name: str = ""
    env: Mapping[str, str] | None = None
    cwd: str | os.PathLike[str] | None = None
    timeout: float | None = None
    absent_codes: Sequence[int] = ()
    anywhere: bool = False


def make_resource(state: Interruptible, kind: str, undo: Sequence[str], options: UndoOptions) -> ExternalResource:
    """Return a resource that is not entered yet. Raises TypeError or ValueError for a command that cannot be run."""
    folder = os.getcwd() if options.cwd is None else os.path.abspath(os.fspath(options.cwd))
    command = make_command(
        kind,
        undo,
        name=options.name,
        env=kept_environment(os.environ, options.env),
        cwd=folder if folder.isprintable() else "/",
        timeout=options.timeout,
        absent_codes=options.absent_codes,
        anywhere=options.anywhere,
    )
    return ExternalResource(state, command)


def resource_name(prefix: str, run: str, task: int, attempt: int, number: int) -> str:
    """Return a name that containers, volumes and hosts allow. Of a long run id, the beginning and a hash."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", run).strip("-.")
    if plain != run or len(plain) > LONGEST_RUN:
        plain = f"{plain[:LONGEST_RUN]}-{hashlib.sha256(run.encode(errors='replace')).hexdigest()[:8]}".lstrip("-")
    return f"{prefix}-{plain}-{task}-{attempt}-{number}"


def _run_here(command: UndoCommand) -> None:
    """Run an undo without a supervisor. What it writes goes to the program's own standard error."""
    try:
        subprocess.run(
            command.argv,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **command.env},
            cwd=command.cwd if os.path.isdir(command.cwd) else "/",
            timeout=command.timeout or UNDO_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        os.write(2, f"quiesce: the undo of {command.kind} {command.name} has failed: {error}\n".encode())


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _release(lock: LockType) -> None:
    with suppress(RuntimeError):  # it is, already
        lock.release()

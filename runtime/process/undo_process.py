"""One start of an undo command: a fresh process in a session of its own, with a time limit, whose output is read.

The process that starts it must be its only reader and reaper; it calls `on_exit` with the status that it has reaped.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import NoReturn

from runtime.ipc.undo import UndoCommand, UndoResult, judge
from runtime.process import marks, parent_process, tree

TAIL = 4096
"""Bytes of what the command wrote last that are kept."""

_CHUNK = 1 << 16

NOT_FOUND, NOT_STARTED = 127, 126
"""Exit codes of a child that could not exec the command (as a shell has them)."""

UNDO_SLOT = "undo"
"""Value of SLOT_VARIABLE in an undo command: it belongs to no executor, and is no guardian."""


class UndoProcess:
    """The running command of the undo record `number`. Raises OSError if the host has no process or descriptor left.

    `limit`: monotonic seconds at which it is killed.
    """

    def __init__(self, number: int, command: UndoCommand, timeout: float) -> None:
        self.number = number
        self.command = command
        self.timeout = timeout
        self.began = time.monotonic()
        self.limit = self.began + timeout
        self._tail = b""
        self._killed = ""
        self._is_cut_off = False
        self.fd, write_fd = os.pipe()
        try:
            os.set_blocking(self.fd, False)
            parent = os.getpid()
            self.pid = os.fork()
        except OSError:
            os.close(self.fd)
            os.close(write_fd)
            raise
        if self.pid == 0:
            _exec(command, write_fd, parent)
        os.close(write_fd)

    def read(self) -> bool:
        """Take in what it has written. Return False at the end of its output."""
        try:
            data = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return True
        self._tail = (self._tail + data)[-TAIL:]
        return bool(data)

    def expire(self) -> None:
        """Kill it, because its time is over."""
        self._kill(f"it did not end within {self.timeout:g} s")

    def cut_off(self, why: str) -> None:
        """Kill it, because the run's end leaves it no more time."""
        self._is_cut_off = True
        self._kill(why)

    def _kill(self, why: str) -> None:
        """Kill its tree; a process that has left its session is found as its descendant."""
        if self._killed:
            return
        self._killed = why
        self.limit = float("inf")
        family = tree.processes([self.pid]) + tree.children(self.pid)
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(OSError):  # it may not have called setsid(2) yet
            os.kill(self.pid, signal.SIGKILL)
        tree.send_signal(family, signal.SIGKILL)

    def on_exit(self, status: int) -> UndoResult:
        """Return how it ended, when it was reaped with this status. A grandchild may hold the pipe open."""
        self.read()
        os.close(self.fd)
        seconds = round(time.monotonic() - self.began, 3)
        code = os.waitstatus_to_exitcode(status)
        result = judge(self.command, code, self._tail.decode(errors="replace"), seconds)
        if result.done or not self._killed or code != -signal.SIGKILL:
            return result
        return UndoResult(done=False, error=self._killed, seconds=seconds, is_cut_off=self._is_cut_off)


def _exec(command: UndoCommand, output: int, parent: int) -> NoReturn:
    """Become the command, in the child."""
    try:
        os.setsid()
        parent_process.die_with_parent(parent)
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, source in ((0, null), (1, output), (2, output)):
            os.dup2(source, fd)
        os.closerange(3, 1 << 20)
        for signum in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            with suppress(OSError, ValueError):
                signal.signal(signum, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            os.chdir(command.cwd or "/")
        except OSError:  # the task has removed its folder
            os.chdir("/")
        os.execvpe(command.argv[0], command.argv, _environment(command))  # noqa: S606 - data of the agent's own program
    except OSError as error:
        os.write(2, f"cannot start {command.argv[0]}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_STARTED)
    finally:
        os._exit(NOT_STARTED)


def _environment(command: UndoCommand) -> dict[str, str]:
    return {**os.environ, **command.env, marks.SLOT_VARIABLE: UNDO_SLOT}

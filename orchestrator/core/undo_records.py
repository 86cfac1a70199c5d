"""Undo records: commands that remove what a task has made outside of its processes. Frozen and pure.

A record is durable before its resource is made (write-ahead). It is *struck out* when its command has succeeded or
found nothing to remove, or when the resource is kept on purpose. What is not struck out is *outstanding*: the resource
may exist.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from runtime.ipc.undo import UndoCommand, UndoResult


class UndoState(StrEnum):
    """Name how far an undo record is."""

    HELD = "held"
    """The resource may exist, and the command has not succeeded."""
    RUNNING = "running"
    """The command was started. After a crash it is not known whether it has succeeded: it runs once more."""
    UNDONE = "undone"
    """The command has succeeded."""
    ABSENT = "absent"
    """The command found nothing to remove."""
    KEPT = "kept"
    """The task has kept the resource on purpose."""


OUTSTANDING: Final = frozenset({UndoState.HELD, UndoState.RUNNING})
"""States of a record that is not struck out. The others never change."""


class UndoRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Hold an undo record of a run. Times are Unix seconds.

    `number` is its place in the run, from 1. `task` and `attempt` say who has made the resource. `host` is where; the
    command runs there alone, unless it reaches the resource from anywhere. `tries` counts the starts of the command,
    `error` says why the last one did not succeed, and `at` when the state changed last.
    """

    number: int
    task: int
    attempt: int
    command: UndoCommand
    host: str
    state: UndoState = UndoState.HELD
    tries: int = 0
    error: str | None = None
    at: float

    @property
    def is_outstanding(self) -> bool:
        """Whether the record is not struck out."""
        return self.state in OUTSTANDING

    def is_for(self, host: str) -> bool:
        """Whether its command may run on this host."""
        return self.command.anywhere or self.host == host


class UndoUpdate(msgspec.Struct, frozen=True):
    """Change the state of an undo record. One that is struck out stays as it is."""

    number: int
    state: UndoState
    tries: int
    at: float
    error: str | None = None


def state_after(result: UndoResult) -> UndoState:
    """Return the state of a record after one start of its command."""
    if not result.done:
        return UndoState.HELD
    return UndoState.UNDONE if result.found else UndoState.ABSENT


def describe(command: UndoCommand) -> str:
    """Return a command for people."""
    return " ".join(command.argv)

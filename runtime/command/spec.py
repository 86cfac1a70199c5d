"""Define what an executor knows of the command that it runs. Pure; a leaf.

The spec belongs to a run's identity: with another one the run would be another run. The setup does not: it may differ
from one start to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

COMMAND_AGENT: Final = "quiesce:command"
"""The name of the built-in agent, in the journal and in the order to load it."""


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is run for each input.

    words: the command, with replacement strings. shell: they are one script for /bin/sh.
    stdin: the field of an input that is the command's standard input; None: that is /dev/null.
    """

    words: list[str]
    shell: bool = False
    stdin: str | None = None


class CommandSetup(msgspec.Struct, frozen=True, kw_only=True):
    """How commands are run and stopped. Times in seconds, sizes in bytes; None: no limit, or not wanted.

    folder: where the files of the run's commands are (snapshots, stop files, long output). results: the folder of
    --results. workers: commands at once. grace, term_grace, timeout_grace: those of the ladder, for one command.
    tail: bytes of the end of each stream that `quiesce logs` has. printed: the output is to be printed as a whole.
    container_undo: name containers that commands make, and remove them at the end of the task.
    """

    folder: str
    workers: int = 1
    results: str | None = None
    printed: bool = False
    stop_signal: int = 15
    grace: float = 10.0
    term_grace: float = 5.0
    timeout: float | None = None
    timeout_grace: float = 5.0
    delay: float = 0.0
    load: float | None = None
    memfree: int | None = None
    ok_codes: Sequence[int] = (0,)
    retry_codes: Sequence[int] | None = None
    slot_env: Mapping[str, Sequence[str]] = {}
    tail: int = 16 << 10
    keep_children: bool = False
    container_undo: bool = True


class _Arguments(msgspec.Struct, frozen=True):
    """Both, as they travel in the order to load the agent."""

    spec: CommandSpec
    setup: CommandSetup


def to_arguments(spec: CommandSpec) -> dict[str, Any]:
    """Return a spec as the journal keeps it: arguments by name."""
    return dict(msgspec.to_builtins(spec))


def from_arguments(arguments: Mapping[str, Any]) -> CommandSpec:
    """Return the spec that the journal has kept. Raises ValueError for what is none."""
    return msgspec.convert(dict(arguments), CommandSpec)


def encode(spec: CommandSpec, setup: CommandSetup) -> bytes:
    """Return spec and setup for an executor."""
    return msgspec.json.encode(_Arguments(spec, setup))


def decode(data: bytes) -> tuple[CommandSpec, CommandSetup]:
    """Return the spec and the setup that `encode` was given. Raises ValueError."""
    arguments = msgspec.json.decode(data, type=_Arguments)
    return arguments.spec, arguments.setup

"""Start a command: posix_spawn(3), which neither copies the executor's memory nor runs code of ours in the child.

The command leads a process group of its own, so that a signal reaches all that it has not detached. No signal is
blocked in it. It has no descriptors but the three of its own.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from runtime.command.record import CommandFailed, CommandFailedForGood

_RETRIABLE: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})
"""Errors of the host, which may be over at the next attempt."""

_PYTHON_IGNORES: Final = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""Signals that the interpreter ignores for itself. Programs expect their default action."""

_FALLBACK_SHELL: Final = "/bin/sh"

NO_INPUT: Final = os.devnull
"""The standard input of a command that is given none."""


def start(words: list[str], environment: Mapping[str, str], stdin: int | None, stdout: int, stderr: int) -> int:
    """Start a command and return its pid. Raises CommandFailed (ForGood) in one line when it cannot be started."""
    try:
        try:
            return _spawn(words, environment, stdin, stdout, stderr)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            path = shutil.which(words[0]) or words[0]  # a script without `#!`: as execvp(3) and every shell do
            return _spawn([_FALLBACK_SHELL, path, *words[1:]], environment, stdin, stdout, stderr)
    except OSError as error:
        kind = CommandFailed if error.errno in _RETRIABLE else CommandFailedForGood
        raise kind(f"cannot start {words[0]!r}: {_explain(error)}") from None
    except ValueError as error:  # a NUL in an argument
        raise CommandFailedForGood(f"cannot start {words[0]!r}: {error}") from None


def _spawn(words: list[str], environment: Mapping[str, str], stdin: int | None, stdout: int, stderr: int) -> int:
    reading = (os.POSIX_SPAWN_OPEN, 0, NO_INPUT, os.O_RDONLY, 0) if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0)
    return os.posix_spawnp(
        words[0],
        words,
        environment,
        file_actions=[reading, (os.POSIX_SPAWN_DUP2, stdout, 1), (os.POSIX_SPAWN_DUP2, stderr, 2)],
        setpgroup=0,
        setsigmask=(),
        setsigdef=_PYTHON_IGNORES,
    )


def keep_descriptors() -> None:
    """Have commands inherit none of this process's descriptors; some are passed to the guardian, and so inheritable."""
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"):
            with suppress(OSError):  # the listing's own
                if int(name) > 2:
                    os.set_inheritable(int(name), False)


def _explain(error: OSError) -> str:
    if error.errno == errno.E2BIG:
        return "the arguments and the environment are too long for this host (E2BIG)"
    return error.strerror or str(error)


def input_file(data: bytes) -> int:
    """Return a descriptor from which a command reads these bytes."""
    fd = os.memfd_create("quiesce-stdin", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd

"""Standard output of a command that prints and is done: what goes wrong with it is what goes wrong with any tool's."""

from __future__ import annotations

import os
import signal
import sys

from runtime.errors import UsageError


def die_by_sigpipe() -> None:
    """When nobody reads any more, end as other tools do, by SIGPIPE. (Python would raise.)"""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def write(text: str) -> None:
    """Write, perhaps not at once. Raises UsageError, in one line, when it cannot be written: the disk is full, say."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        raise _failed(error) from None


def flush() -> None:
    """Write what is kept back. Raises as `put` does."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _failed(error) from None


def print_all(text: str) -> None:
    """All that a command has to say. The handling of SIGPIPE is as before when it returns."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        write(text)
        flush()
    finally:
        signal.signal(signal.SIGPIPE, before)


def _failed(error: OSError) -> UsageError:
    """What is still kept back goes nowhere: an interpreter that ends would try once more, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return UsageError(f"cannot write to standard output: {error.strerror or error}")

"""Write the standard output of a command that prints and exits, with the errors and signals of other Unix tools."""

from __future__ import annotations

import os
import select
import signal
import sys

from runtime.errors import UsageError


def die_by_sigpipe() -> None:
    """End this process by SIGPIPE when its reader is gone, as other tools do. By default, Python raises instead."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def write(text: str) -> None:
    """Write text, perhaps buffered. Raises UsageError when it cannot be written, for example to a full disk."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        raise failed(error) from None


def write_bytes(data: bytes) -> None:
    """Write bytes behind the text that was written. Raises UsageError as `write` does."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    except OSError as error:
        raise failed(error) from None


def encoding() -> str:
    """Return the encoding of text on standard output."""
    return sys.stdout.encoding or "utf-8"


def die_if_closed() -> None:
    """End this process by SIGPIPE if its reader is gone, although there is nothing to write."""
    poller = select.poll()
    poller.register(1, 0)
    if any(event & select.POLLERR for _, event in poller.poll(0)):
        signal.raise_signal(signal.SIGPIPE)


def flush() -> None:
    """Write buffered text. Raises UsageError as `write` does."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise failed(error) from None


def print_all(text: str) -> None:
    """Write the whole output of a command. Restores the handling of SIGPIPE before it returns."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        write(text)
        flush()
    finally:
        signal.signal(signal.SIGPIPE, before)


def failed(error: OSError) -> UsageError:
    """Return the error for a failed write.

    Discard buffered text: at its exit, the interpreter would try to write it once more.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return UsageError(f"cannot write to standard output: {error.strerror or error}")

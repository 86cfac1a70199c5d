"""Tell a user of a mistake in one line, and exit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.cli import verbosity
from orchestrator.cli.exit import USAGE, exit_now, print_error
from runtime.errors import QuiesceError


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """Make a mistake of the user one line on standard error and exit code 2."""
    try:
        yield
    except QuiesceError as error:
        verbosity.print_traceback(error)
        print_error(f"quiesce: {error}")
        exit_now(USAGE)
    except FileNotFoundError:
        if _cwd_exists():
            raise
        print_error("quiesce: the working directory was removed: change to one that exists")
        exit_now(USAGE)


def _cwd_exists() -> bool:
    """Return whether the working directory, where every relative path begins, still exists."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True

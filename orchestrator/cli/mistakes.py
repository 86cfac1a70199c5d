"""Tell a user of a mistake in one line, and exit."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from orchestrator.cli import verbosity
from orchestrator.cli.exit_codes import USAGE
from runtime.errors import QuiesceError


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """Make a mistake of the user one line on standard error and exit code 2."""
    try:
        yield
    except QuiesceError as error:
        verbosity.print_traceback(error)
        _exit(f"quiesce: {error}")
    except FileNotFoundError:
        if _cwd_exists():
            raise
        _exit("quiesce: the working directory was removed: change to one that exists")


def _exit(line: str) -> NoReturn:
    """Print a line and exit. The module that does is loaded only now: no query needs more of it."""
    ending = importlib.import_module("orchestrator.cli.exit")
    ending.print_error(line)
    ending.exit_now(USAGE)
    raise AssertionError("unreachable: exit_now ends the process")


def _cwd_exists() -> bool:
    """Return whether the working directory, where every relative path begins, still exists."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True

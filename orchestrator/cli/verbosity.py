"""How much a command says on standard error: `-q` and `-v`, with one meaning for all commands.

-q: warnings and errors alone: no progress, no log lines of level info, and no summary of a run that completed.
-v: log lines of level debug too, and the traceback of an error.

What a command is asked to print on standard output is the same with either. `--log-level` and `--progress` win.
"""

from __future__ import annotations

import sys
import traceback
from enum import Enum
from typing import Final

from orchestrator.display.progress_mode import ProgressMode
from runtime.statuses import Severity


class Verbosity(Enum):
    """How much is said."""

    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


_chosen: Final = [Verbosity.NORMAL]


def choose(verbosity: Verbosity) -> None:
    """Set the verbosity of this process."""
    _chosen[0] = verbosity


def current() -> Verbosity:
    """Return the verbosity of this process."""
    return _chosen[0]


def log_level() -> Severity | None:
    """Return the level of log lines that -q or -v asks for, None if neither was given."""
    return {Verbosity.QUIET: Severity.WARNING, Verbosity.VERBOSE: Severity.DEBUG}.get(current())


def quieter_progress(mode: ProgressMode) -> ProgressMode:
    """Return how progress is shown: not at all with -q, unless an option says how."""
    return ProgressMode.OFF if mode is ProgressMode.AUTO and current() is Verbosity.QUIET else mode


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an error on standard error, if -v asks for it."""
    if current() is Verbosity.VERBOSE:
        traceback.print_exception(error, file=sys.stderr)

"""Answer `quiesce --version`, `quiesce --help` and `quiesce` alone without building the command line.

Building it imports typer, rich and pydantic, which takes twenty times as long as the answer.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from contextlib import suppress

from orchestrator.version import VERSION

COMPLETION = "_QUIESCE_COMPLETE"
"""The variable of the environment by which a shell asks for completions."""

TYPE_CHECKING = False  # as in orchestrator/__init__.py
if TYPE_CHECKING:
    from collections.abc import Sequence


def find_answer(arguments: Sequence[str]) -> tuple[str, int] | None:
    """Return what to print and the exit code, or None if the command line must be built to know."""
    if COMPLETION in os.environ:
        return None
    if list(arguments) == ["--version"]:
        return f"quiesce {VERSION}\n", 0
    if len(arguments) == 0 or list(arguments) in (["--help"], ["-h"]):
        page = importlib.import_module("orchestrator.help_page").render()
        return None if page is None else (page, 0 if arguments else 2)
    return None


def print_and_exit(text: str, code: int) -> None:
    """Print an answer and exit, with 2 if that fails. A reader that is gone ends the process by SIGPIPE."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):
            sys.stderr.write(f"quiesce: cannot write to standard output: {error.strerror or error}\n")
            sys.stderr.flush()
        os._exit(2)  # the interpreter would try to write once more
    sys.exit(code)

"""Answer `quiesce status` without building the command line: that takes longer than reading the journal.

Only the usual arguments are understood here, and only a journal that can be read at once. For anything else, and for
every mistake, nothing is answered: the command line does it, with its messages.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from orchestrator.config_file import choose_journal
from orchestrator.journal import Contention, open_journal
from orchestrator.quick_answers import COMPLETION, print_and_exit
from orchestrator.run_text import status_lines
from runtime.errors import QuiesceError, UsageError


class StatusArguments(msgspec.Struct, frozen=True):
    """The arguments of `quiesce status`."""

    run: str | None
    journal: str
    as_json: bool


def read_arguments(arguments: Sequence[str]) -> StatusArguments | None:
    """Return the arguments behind `status`; None if they are not the usual ones.

    Raises UsageError for a configuration file that cannot be used.
    """
    run, journal, as_json = None, None, False
    words = iter(arguments)
    for word in words:
        if word == "--json":
            as_json = True
        elif word in ("-j", "--journal"):
            journal = next(words, "")
        elif word.startswith("--journal="):
            journal = word.partition("=")[2]
        elif word.startswith("-") or run is not None:
            return None
        else:
            run = word
    if journal is None:
        journal, _ = choose_journal(None, os.environ)
    sound = journal and not journal.startswith("-") and f"{run}{journal}".isprintable()
    return StatusArguments(run, journal, as_json) if sound else None


def answer(arguments: Sequence[str]) -> None:
    """Print the status and exit, or return for the command line to do it."""
    try:
        given = None if COMPLETION in os.environ else read_arguments(arguments)
    except UsageError:
        return
    if given is None:
        return
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in every query (orchestrator/cli/journal_query.py)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with open_journal(given.journal, "read", _give_up) as journal:
            text = "".join(f"{line}\n" for line in status_lines(journal, given.run, as_json=given.as_json))
    except QuiesceError:
        return
    if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8; a character that the locale lacks is no error
        sys.stdout.reconfigure(encoding="utf-8" if given.as_json else None, errors="backslashreplace")
    print_and_exit(text, 0)


def _give_up(contention: Contention) -> NoReturn:
    raise contention.error()

"""Open a journal for a command that prints, and follow what a living supervisor adds to it."""

from __future__ import annotations

import contextlib
import importlib
import io
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from orchestrator.cli import stdout
from orchestrator.cli.declare import Argument, Exit, Option
from orchestrator.cli.journals import open_for_command
from orchestrator.cli.verbosity import print_traceback
from orchestrator.config_file import JOURNAL_VARIABLE, choose_journal
from orchestrator.journal import Journal, Mode
from orchestrator.run_text import text
from runtime.errors import QuiesceError, UsageError
from runtime.statuses import ExecutionStatus
from runtime.text import printable

if TYPE_CHECKING:  # what only a follower needs
    from orchestrator.control.commit_watch import CommitWatch

POLL_SECONDS: Final = 0.05
"""Seconds between two checks for new commits; a check costs a few microseconds."""

RunId = Annotated[
    str | None, Argument(metavar="RUN", help="A run id, or a unique beginning of one. (default: the latest)")
]


def _refuse_blank(value: str) -> None:
    if not value.strip():
        raise UsageError("--journal is blank: give a path, or leave it out for $QUIESCE_JOURNAL or quiesce.db")


def _journal() -> str:
    """Return the journal of the configuration file, or the default."""
    return choose_journal(None, {})[0]


JournalPath = Annotated[
    str,
    Option(
        "--journal", "-j", metavar="PATH", envvar=JOURNAL_VARIABLE, check=_refuse_blank, default_from=_journal,
        help="The journal.",
    ),
]  # fmt: skip
AsJson = Annotated[bool, Option("--json", help="Print JSON, one object a line.")]

T = TypeVar("T")


@contextlib.contextmanager
def query(where: str, mode: Mode = "read") -> Iterator[Journal]:
    """Open a journal for the block. An error becomes one line and exit code 2."""
    stdout.die_by_sigpipe()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # keep SIG_IGN if the parent set it (nohup)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character that the locale lacks must not be an error
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with open_for_command(where, mode) as journal:
            yield journal
            stdout.flush()
    except QuiesceError as error:
        print_traceback(error)
        print_error(str(error))
        raise Exit(2) from None


def follow(journal: Journal, number: int, read_new: Callable[[], Iterable[T]]) -> Iterator[T]:
    """Yield what `read_new` returns, again after each commit, until the run has ended or its supervisor is gone.

    The run's control socket says when something was committed; without one the journal is asked every POLL_SECONDS.
    """
    commits: CommitWatch = importlib.import_module("orchestrator.control.commit_watch").CommitWatch(journal, number)
    while True:
        version, run = journal.data_version(), next((run for run in journal.runs() if run.id == number), None)
        if run is None:
            raise UsageError(f"the run is no longer in {journal.location}")
        gone = run.starts > 0 and not (run.owner and run.owner.alive)
        yield from read_new()  # read after the run itself, so the last records are included
        stdout.flush()
        if run.status not in (ExecutionStatus.AWAITING, ExecutionStatus.STARTED):
            return
        if gone:
            print_error(f"the supervisor of run {run.run_id} is gone: nothing more comes until it is resumed")
            return
        for _ in range(20):  # then check the run all the same: a supervisor that is killed commits nothing
            commits.wait(POLL_SECONDS)
            stdout.die_if_closed()
            if journal.data_version() != version:
                break


def print_line(line: str) -> None:
    """Print a line for people."""
    stdout.write(line + "\n")


def print_json(value: Any) -> None:
    """Print JSON in UTF-8, independent of the locale."""
    print_utf8(text(value))


def print_utf8(line: str) -> None:
    """Print a line in UTF-8, independent of the locale."""
    stdout.write_bytes(line.encode() + b"\n")


def print_error(line: str) -> None:
    """Print a line on standard error."""
    sys.stderr.write(f"quiesce: {printable(line)}\n")

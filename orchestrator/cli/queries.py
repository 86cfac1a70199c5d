"""`quiesce runs | status | results | events | interrupt`: what a journal knows. They load no agent and no blob.

With --json one object a line goes to standard output; without, plain columns, coloured on a terminal. A closed
standard output (`| head`) and Ctrl-C end them as they end any Unix tool: by the signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from orchestrator.journal import DEFAULT_JOURNAL, Journal, Mode, RunRecord, open_journal
from orchestrator.records import Outcome, RunEvent
from runtime.codec import JSON
from runtime.errors import QuiesceError
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal

POLL_SECONDS: Final = 0.05
"""How often `events --follow` looks for new commits; it costs a few microseconds."""

_COLOURS: Final = {
    ExecutionStatus.COMPLETED: typer.colors.GREEN,
    ExecutionStatus.FAILED: typer.colors.RED,
    ExecutionStatus.INTERRUPTED: typer.colors.YELLOW,
}
_encode = msgspec.json.Encoder().encode

RunId = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="A run id, or a unique beginning of one. Default: the latest.")
]
JournalPath = Annotated[
    str, typer.Option("--journal", metavar="PATH", envvar="QUIESCE_JOURNAL", help="Where the journal is.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, one object a line.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (runs, status, results, events, interrupt):
        app.command()(command)


# -- the commands ------------------------------------------------------------------------------------------


def runs(journal: JournalPath = DEFAULT_JOURNAL, json: AsJson = False) -> None:
    """List all runs, the oldest first."""
    with _query(journal) as found:
        if not json:
            _say(f"{'RUN':24} {'STATUS':12} {'DONE':>9} {'TOTAL':>9} {'FAILED':>7}  {'CREATED':19}")
        for run in found.runs():
            counts = found.counts(run.id)
            if json:
                _say_json(_run_object(found, run))
            else:
                _say(
                    f"{_plain(run.run_id):24} {_coloured(run.status, 12)} {counts.completed + counts.failed:9}"
                    f" {counts.total:9} {counts.failed:7}  {_local(run.created_at)}"
                )


def status(run: RunId = None, journal: JournalPath = DEFAULT_JOURNAL, json: AsJson = False) -> None:
    """Tell how a run stands: its tasks by status, who executes it, why it was interrupted."""
    with _query(journal) as found:
        record = found.get_run(run)
        if json:
            _say_json(_run_object(found, record))
            return
        counts = found.counts(record.id)
        _say(f"run        {_plain(record.run_id)}")
        _say(f"status     {_coloured(record.status)}{_standing(record)}")
        _say(
            f"tasks      {counts.total}{'' if record.sealed else ' so far'}: {counts.completed} completed,"
            f" {counts.failed} failed, {counts.interrupted} interrupted, {counts.pending} pending"
        )
        _say(f"created    {_local(record.created_at)}")
        _say(f"started    {_local(record.started_at)} ({record.starts} start{'' if record.starts == 1 else 's'})")
        _say(f"ended      {_local(record.ended_at)}")
        if record.signal is not None:
            _say(f"signal     {record.signal.reason}: {_plain(record.signal.message)}")


def results(
    run: RunId = None,
    status: Annotated[
        list[ExecutionStatus] | None,
        typer.Option("--status", help="Only tasks of this status. May be given more than once."),
    ] = None,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Print what became of each task that has an outcome, in the order of the input."""
    with _query(journal) as found:
        for outcome in found.results(found.get_run(run).id, status or None):
            if json:
                _say_json(_outcome_object(outcome))
            else:
                text = outcome.error if outcome.encoded is None else _text(_value(outcome.encoded, outcome.encoding))
                _say(f"{_plain(outcome.key):12} {_coloured(outcome.status, 12)} {_plain(text or '')}")


def events(
    run: RunId = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as they come, until the run has ended.")
    ] = False,
    first: Annotated[int, typer.Option("--from", metavar="SEQ", min=1, help="Begin with this event.")] = 1,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Print the events of a run, in order."""
    with _query(journal) as found:
        number = found.get_run(run).id
        for event in _followed(found, number, first) if follow else found.events(number, first):
            _say_json(_event_object(event)) if json else _say(_event_line(event))


def interrupt(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a unique beginning of one.")],
    reason: Annotated[InterruptReason, typer.Option(help="Why.")] = InterruptReason.USER_CANCELLED,
    message: Annotated[str, typer.Option(help="A sentence for whoever reads about it.")] = "",
    task: Annotated[str | None, typer.Option(metavar="KEY", help="Stop this task only.")] = None,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Ask the living supervisor of a run to stop it, or one task of it, in good order."""
    with _query(journal, "write") as found:
        record = found.get_run(run)
        why = InterruptSignal(reason=reason, message=message, triggered_by=f"quiesce interrupt, process {os.getpid()}")
        owner = found.add_request(record.id, why, task)
        if json:
            _say_json({"run_id": record.run_id, "requested": owner is not None, "owner": owner})
        elif owner is not None:
            _say(f"asked process {owner.pid} to stop {'run' if task is None else f'task {task!r} of'} {record.run_id}")
        if owner is None:
            _complain(f"no living supervisor has run {record.run_id}: nothing to interrupt")
            raise typer.Exit(1)


# -- how they begin and end --------------------------------------------------------------------------------


@contextlib.contextmanager
def _query(where: str, mode: Mode = "read") -> Iterator[Journal]:
    """An open journal; whatever is wrong becomes one line and exit code 2."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # an ignored signal is a wish
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with open_journal(where, mode) as journal:
            yield journal
            sys.stdout.flush()
    except QuiesceError as error:
        _complain(str(error))
        raise typer.Exit(2) from None


def _followed(journal: Journal, number: int, first: int) -> Iterator[RunEvent]:
    """Events from `first` on, until the run has ended or its supervisor is gone."""
    while True:
        version, run = journal.data_version(), next(run for run in journal.runs() if run.id == number)
        gone = run.starts > 0 and not (run.owner and run.owner.alive)
        for event in journal.events(number, first):  # after the look at the run: its last events are among them
            first = event.seq + 1
            yield event
        sys.stdout.flush()
        if run.status not in (ExecutionStatus.AWAITING, ExecutionStatus.STARTED):
            return
        if gone:
            _complain(f"the supervisor of run {run.run_id} is gone: no more events until it is resumed")
            return
        for _ in range(20):  # then look again all the same: a supervisor that is killed commits nothing
            time.sleep(POLL_SECONDS)
            if journal.data_version() != version:
                break


# -- objects for --json ------------------------------------------------------------------------------------


def _run_object(journal: Journal, run: RunRecord) -> dict[str, Any]:
    counts = journal.counts(run.id)
    return {
        "run_id": run.run_id,
        "status": run.status,
        "agent": run.agent,
        "tasks": {**msgspec.structs.asdict(counts), "total": counts.total},
        "sealed": run.sealed,
        "created_at": _iso(run.created_at),
        "started_at": _iso(run.started_at),
        "ended_at": _iso(run.ended_at),
        "signal": None if run.signal is None else run.signal.model_dump(mode="json"),
        "owner": run.owner,
        "starts": run.starts,
        "cwd": run.cwd,
        "journal": journal.location,
    }


def _outcome_object(outcome: Outcome) -> dict[str, Any]:
    return {
        "key": outcome.key,
        "seq": outcome.seq,
        "status": outcome.status,
        "value": None if outcome.encoded is None else _value(outcome.encoded, outcome.encoding),
        "error": outcome.error,
        "detail": outcome.detail,
        "attempts": outcome.attempts,
        "started_at": _iso(outcome.started_at),
        "ended_at": _iso(outcome.ended_at),
        "slot": outcome.slot,
        "incarnation": outcome.incarnation,
        "signal": None if outcome.signal is None else outcome.signal.model_dump(mode="json"),
    }


def _event_object(event: RunEvent) -> dict[str, Any]:
    return {**msgspec.structs.asdict(event), "at": _iso(event.at), "data": _value(event.data, JSON)}


def _value(data: bytes, encoding: str) -> Any:
    """JSON as it is, on one line; anything else as a blob, unopened."""
    if encoding == JSON:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.Raw(msgspec.json.format(data, indent=-1))
    return {"$blob": b64encode(data).decode(), "encoding": encoding}


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


# -- text for people ---------------------------------------------------------------------------------------


def _standing(run: RunRecord) -> str:
    """What the status alone does not tell."""
    if run.owner is not None and run.owner.alive:
        return f" (process {run.owner.pid} on {_plain(run.owner.host)})"
    if run.ended or not run.starts:
        return ""
    gone = ", but its supervisor is gone" if run.status is ExecutionStatus.STARTED else ""
    return f"{gone}; to go on: quiesce resume {_plain(run.run_id)}"


def _event_line(event: RunEvent) -> str:
    task = f" task {event.task}" if event.task else ""
    address = f" {_plain(event.address)}" if event.address else ""
    return f"{event.seq:6} {_local(event.at)} {_plain(event.kind)}{task}{address} {_plain(_text(_value(event.data, JSON)))}"


def _text(value: Any) -> str:
    return _encode(value).decode()


def _local(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _plain(text: str) -> str:
    """One line without control characters: what a task says must not drive the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _coloured(state: ExecutionStatus, width: int = 0) -> str:
    text = f"{state:{width}}"
    return typer.style(text, fg=_COLOURS.get(state)) if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _say_json(value: Any) -> None:
    _say(_encode(value).decode())


def _complain(line: str) -> None:
    sys.stderr.write(f"quiesce: {line}\n")

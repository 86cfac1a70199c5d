"""What the query commands show: objects for --json, lines for people. Values are not opened, only passed on."""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import typer

from orchestrator.core.records import RunEvent, TaskOutcome
from orchestrator.hints import resumption
from orchestrator.journal import Counts, RunRecord
from runtime.ipc.codec import JSON
from runtime.model import ExecutionStatus
from runtime.text import printable, printable_json

_COLOURS: Final = {
    ExecutionStatus.COMPLETED: typer.colors.GREEN,
    ExecutionStatus.FAILED: typer.colors.RED,
    ExecutionStatus.INTERRUPTED: typer.colors.YELLOW,
}
_encode = msgspec.json.Encoder().encode

# -- objects for --json ------------------------------------------------------------------------------------


def run_object(run: RunRecord, counts: Counts) -> dict[str, Any]:
    """A run, for `runs` and `status`."""
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
    }


def outcome_object(outcome: TaskOutcome) -> dict[str, Any]:
    """An outcome, for `results`. Where `value` is only a projection, `exact` is false and `type` says of what."""
    value, kind = shown_value(outcome)
    return {
        "key": outcome.key,
        "seq": outcome.seq,
        "status": outcome.status,
        "value": value,
        "exact": kind is None,
        "type": kind,
        "error": outcome.error,
        "detail": outcome.detail,
        "attempts": outcome.attempts,
        "started_at": _iso(outcome.started_at),
        "ended_at": _iso(outcome.ended_at),
        "slot": outcome.slot,
        "incarnation": outcome.incarnation,
        "signal": None if outcome.signal is None else outcome.signal.model_dump(mode="json"),
    }


def event_object(event: RunEvent) -> dict[str, Any]:
    """An event, for `events`."""
    return {"seq": event.seq, **msgspec.structs.asdict(event), "at": _iso(event.at), "data": _value(event.data)}


class _Projection(msgspec.Struct):
    """What runtime.ipc.projection makes."""

    type: str
    value: msgspec.Raw


_decode_projection = msgspec.json.Decoder(_Projection).decode


def shown_value(outcome: TaskOutcome) -> tuple[Any, str | None]:
    """Return what readers see of a value, and the name of its type if that is not the value itself."""
    if outcome.encoded is None:
        return None, None
    try:
        if outcome.exact:
            return _json(outcome.encoded), None
        found = _decode_projection(outcome.projection or b"")
        return _json(bytes(found.value)), found.type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # of an executor that was broken
        return _blob(outcome.encoded, outcome.encoding), "?"


def _value(data: bytes) -> Any:
    try:
        return _json(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _blob(data, JSON)


def _json(data: bytes) -> msgspec.Raw:
    """JSON as it is, on one line."""
    return msgspec.Raw(msgspec.json.format(data, indent=-1))


def _blob(data: bytes, encoding: str) -> dict[str, str]:
    """What nobody opens here."""
    return {"$blob": b64encode(data).decode(), "encoding": encoding}


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


# -- text for people ---------------------------------------------------------------------------------------


RUN_HEAD: Final = f"{'RUN':24} {'STATUS':12} {'DONE':>9} {'TOTAL':>9} {'FAILED':>7}  CREATED"


def run_line(run: RunRecord, counts: Counts) -> str:
    """One line under RUN_HEAD."""
    done = counts.completed + counts.failed
    numbers = f"{done:9} {counts.total:9} {counts.failed:7}"
    return f"{printable(run.run_id):24} {coloured(run.status, 12)} {numbers}  {local(run.created_at)}"


def run_lines(run: RunRecord, counts: Counts, journal: str) -> list[str]:
    """All about one run, and where its journal is."""
    known = str(counts.total) if run.sealed else f"{counts.total} so far"
    starts = f"{run.starts} start" if run.starts == 1 else f"{run.starts} starts"
    lines = [
        f"run        {printable(run.run_id)}",
        f"status     {coloured(run.status)}{_standing(run, journal)}",
        (
            f"tasks      {known}: {counts.completed} completed, {counts.failed} failed,"
            f" {counts.interrupted} interrupted, {counts.pending} pending"
        ),
        f"created    {local(run.created_at)}",
        f"started    {local(run.started_at)} ({starts})",
        f"ended      {local(run.ended_at)}",
    ]
    if run.signal is not None:
        why = f": {printable(run.signal.message)}" if run.signal.message else ""
        lines.append(f"signal     {run.signal.reason}{why}")
    return lines


def _standing(run: RunRecord, journal: str) -> str:
    """What the status alone does not tell."""
    if run.owner is not None and run.owner.alive:
        return f" (process {run.owner.pid} on {printable(run.owner.host)})"
    if run.ended or not run.starts:
        return ""
    gone = ", but its supervisor is gone" if run.status is ExecutionStatus.STARTED else ""
    return f"{gone}; to go on: {resumption(run, journal)}"


def outcome_line(outcome: TaskOutcome) -> str:
    """One line: key, status, and the value or what went wrong."""
    if outcome.encoded is not None:
        value, kind = shown_value(outcome)
        what = text(value) if kind is None else f"{text(value)} ({kind})"
    else:
        what = outcome.error or (outcome.signal.message if outcome.signal else "")
    return f"{printable(outcome.key):12} {coloured(outcome.status, 12)} {printable(what)}"


def event_line(event: RunEvent) -> str:
    """One line: number, time, kind, where, and its data."""
    task = f" task {event.task}" if event.task else ""
    address = f" {printable(event.address)}" if event.address else ""
    data = text(_value(event.data))
    return f"{event.seq:6} {local(event.at)} {printable(event.kind)}{task}{address} {data}"


def text(value: Any) -> str:
    """JSON on one line, without control characters."""
    return printable_json(_encode(value).decode())


def local(at: float | None) -> str:
    """A time on the clock of whoever reads, to the second."""
    return "-" if at is None else datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def coloured(state: ExecutionStatus, width: int = 0) -> str:
    """A status, at least so wide, in its colour on a terminal."""
    text = f"{state:{width}}"
    return typer.style(text, fg=_COLOURS.get(state)) if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text

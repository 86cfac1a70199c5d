"""Render what the query commands print: objects for --json, lines for people. No value is unpickled."""

from __future__ import annotations

import importlib
import sys
import time
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import typer

from orchestrator.core.progress_report import ProgressReport
from orchestrator.core.records import RunEvent, TaskOutcome
from orchestrator.hints import resumption
from orchestrator.journal import Counts, RunRecord
from runtime.ipc.codec import JSON
from runtime.model import ExecutionStatus
from runtime.terminal import has_colour
from runtime.text import printable, printable_json

_COLOURS: Final = {
    ExecutionStatus.COMPLETED: typer.colors.GREEN,
    ExecutionStatus.FAILED: typer.colors.RED,
    ExecutionStatus.INTERRUPTED: typer.colors.YELLOW,
}
_encode = msgspec.json.Encoder().encode

# -- objects for --json ------------------------------------------------------------------------------------


def run_object(run: RunRecord, counts: Counts) -> dict[str, Any]:
    """Return a run as an object, for `runs` and `status`."""
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
        "labels": dict(run.labels),
    }


def progress_object(report: ProgressReport | None) -> dict[str, Any] | None:
    """Return what a living supervisor tells of its run, for `status`; None without one."""
    if report is None:
        return None
    rendered: dict[str, Any] = _progress_module().report_object(report, _iso(report.at))
    return rendered


def progress_lines(report: ProgressReport | None) -> list[str]:
    """Return the same as lines for people."""
    return [] if report is None else list(_progress_module().report_lines(report, time.time()))


def _progress_module() -> Any:
    """Import what only a living run needs."""
    return importlib.import_module("orchestrator.cli.progress_lines")


def outcome_object(outcome: TaskOutcome) -> dict[str, Any]:
    """Return an outcome as an object, for `results`.

    If `value` is only a projection of the value, `exact` is false and `type` is the name of the value's type.
    """
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


def event_object(event: RunEvent, key: str | None) -> dict[str, Any]:
    """Return an event as an object, for `events`. `key`: that of its task, if it has one."""
    fields = msgspec.structs.asdict(event)
    return {"seq": event.seq, **fields, "key": key, "at": _iso(event.at), "data": shown_bytes(event.data)}


class _Keyed(msgspec.Struct):
    """The data of an event that may name a task."""

    key: str | None = None


_decode_keyed = msgspec.json.Decoder(_Keyed).decode


def event_key(event: RunEvent) -> str | None:
    """Return the key of the task that the data of an event names, None if it names none."""
    if b'"key"' not in event.data:
        return None
    try:
        return _decode_keyed(event.data).key
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class _Projection(msgspec.Struct):
    """A projection as runtime.ipc.projection encodes it."""

    type: str
    value: msgspec.Raw


_decode_projection = msgspec.json.Decoder(_Projection).decode


def shown_value(outcome: TaskOutcome) -> tuple[Any, str | None]:
    """Return the JSON of a value or of its projection; with a projection, the name of the value's type."""
    if outcome.encoded is None:
        return None, None
    try:
        if outcome.exact:
            return _json(outcome.encoded), None
        projection = _decode_projection(outcome.projection or b"")
        return _json(bytes(projection.value)), projection.type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # written by a broken executor
        return _blob(outcome.encoded, outcome.encoding), "?"


def shown_bytes(data: bytes, encoding: str = JSON) -> Any:
    """Return the JSON of an encoded value; what is not JSON, an input that was pickled, as base64."""
    if encoding != JSON:
        return _blob(data, encoding)
    try:
        return _json(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _blob(data, JSON)


def _json(data: bytes) -> msgspec.Raw:
    """Return JSON unchanged, on one line."""
    return msgspec.Raw(msgspec.json.format(data, indent=-1))


def _blob(data: bytes, encoding: str) -> dict[str, str]:
    """Return bytes that cannot be shown as JSON, in base64."""
    return {"$blob": b64encode(data).decode(), "encoding": encoding}


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


# -- text for people ---------------------------------------------------------------------------------------


RUN_HEAD: Final = f"{'RUN':24} {'STATUS':12} {'DONE':>9} {'TOTAL':>9} {'FAILED':>7}  CREATED"


def run_line(run: RunRecord, counts: Counts) -> str:
    """Return the line about a run, for the columns of RUN_HEAD."""
    done = counts.completed + counts.failed
    numbers = f"{done:9} {counts.total:9} {counts.failed:7}"
    labels = f"  {labels_text(run)}" if run.labels else ""
    return f"{printable(run.run_id):24} {coloured(run.status, 12)} {numbers}  {local(run.created_at)}{labels}"


def run_lines(run: RunRecord, counts: Counts, journal: str) -> list[str]:
    """Return the lines about one run, with the command that resumes it."""
    total = str(counts.total) if run.sealed else f"{counts.total} so far"
    starts = f"{run.starts} start" if run.starts == 1 else f"{run.starts} starts"
    lines = [
        f"run        {printable(run.run_id)}",
        f"status     {coloured(run.status)}{_owner_or_hint(run, journal)}",
        (
            f"tasks      {total}: {counts.completed} completed, {counts.failed} failed,"
            f" {counts.interrupted} interrupted, {counts.pending} pending"
        ),
        f"created    {local(run.created_at)}",
        f"started    {local(run.started_at)} ({starts})",
        f"ended      {local(run.ended_at)}",
    ]
    if run.labels:
        lines.append(f"labels     {labels_text(run)}")
    if run.signal is not None:
        message = f": {printable(run.signal.message)}" if run.signal.message else ""
        lines.append(f"signal     {run.signal.reason}{message}")
    return lines


def labels_text(run: RunRecord) -> str:
    """Return the labels of a run on one line."""
    return printable(" ".join(f"{name}={value}" for name, value in run.labels.items()))


def _owner_or_hint(run: RunRecord, journal: str) -> str:
    """Return what follows the status: the supervisor that executes the run, or how to resume it."""
    if run.owner is not None and run.owner.alive:
        return f" (process {run.owner.pid} on {printable(run.owner.host)})"
    if run.ended or not run.starts:
        return ""
    gone = ", but its supervisor is gone" if run.status is ExecutionStatus.STARTED else ""
    return f"{gone}; to resume: {resumption(run, journal)}"


def outcome_line(outcome: TaskOutcome) -> str:
    """Return the line about an outcome: key, status, and the value or the error."""
    if outcome.encoded is not None:
        value, kind = shown_value(outcome)
        result = text(value) if kind is None else f"{text(value)} ({kind})"
    else:
        result = outcome.error or (outcome.signal.message if outcome.signal else "")
    return f"{printable(outcome.key):12} {coloured(outcome.status, 12)} {printable(result)}"


def event_line(event: RunEvent, key: str | None) -> str:
    """Return the line about an event: number, time, kind, the key of its task, address and data."""
    task = f" {printable(key)}" if key is not None else f" task {event.task}" if event.task else ""
    address = f" {printable(event.address)}" if event.address else ""
    data = text(shown_bytes(event.data))
    return f"{event.seq:6} {local(event.at)} {printable(event.kind)}{task}{address} {data}"


def text(value: Any) -> str:
    """Return a value as JSON on one line, without control characters."""
    return printable_json(_encode(value).decode())


def local(at: float | None) -> str:
    """Return a time in the local time zone, to the second."""
    return "-" if at is None else datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def coloured(state: ExecutionStatus, width: int = 0) -> str:
    """Return a status, padded to `width`, in its colour on a terminal."""
    text = f"{state:{width}}"
    return typer.style(text, fg=_COLOURS.get(state)) if has_colour(sys.stdout) else text

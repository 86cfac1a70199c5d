"""Render what the query commands print: objects for --json, lines for people. No value is unpickled."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from orchestrator.core.records import RunEvent, TaskOutcome
from orchestrator.run_text import coloured, iso, local, text
from runtime.ipc.encodings import JSON
from runtime.text import printable

# -- objects for --json ------------------------------------------------------------------------------------


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
        "started_at": iso(outcome.started_at),
        "ended_at": iso(outcome.ended_at),
        "slot": outcome.slot,
        "incarnation": outcome.incarnation,
        "signal": None if outcome.signal is None else outcome.signal.model_dump(mode="json"),
    }


def event_object(event: RunEvent, key: str | None) -> dict[str, Any]:
    """Return an event as an object, for `events`. `key`: that of its task, if it has one."""
    fields = msgspec.structs.asdict(event)
    return {"seq": event.seq, **fields, "key": key, "at": iso(event.at), "data": shown_bytes(event.data)}


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


# -- text for people ---------------------------------------------------------------------------------------


def outcome_line(outcome: TaskOutcome) -> str:
    """Return the line about an outcome: key, status, and the value or the error."""
    if outcome.encoded is not None and outcome.ok:
        value, kind = shown_value(outcome)
        result = text(value) if kind is None else f"{text(value)} ({kind})"
    else:
        result = outcome.error or (outcome.signal.message if outcome.signal else "")
    return f"{printable(outcome.key):12} {coloured(outcome.status, 12)} {printable(result)}"


def _without_detail(data: bytes) -> bytes:
    """Return the data of an event without a traceback, which `show` and --json have."""
    if b'"detail"' not in data:
        return data
    try:
        fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return data
    return msgspec.json.encode({name: value for name, value in fields.items() if name != "detail"})


def event_line(event: RunEvent, key: str | None) -> str:
    """Return the line about an event: number, time, kind, the key of its task, address and data."""
    task = f" {printable(key)}" if key is not None else f" task {event.task}" if event.task else ""
    address = f" {printable(event.address)}" if event.address else ""
    data = text(shown_bytes(_without_detail(event.data)))
    return f"{event.seq:6} {local(event.at)} {printable(event.kind)}{task}{address} {data}"

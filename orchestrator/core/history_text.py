"""Write a history as JSON lines that a person can read, and read it back for a replay. Pure.

The first line is about the run: its settings, and how many stimuli were dropped. Each other line is a stimulus, with
`at` (monotonic seconds) and the names of its members. Of inputs, snapshots, results and agents only the `size` is
there: they may be secret, and such a file is handed on. Other bytes are shown as text, a byte a character
(ISO 8859-1). Of a text with a `size`, only the beginning was kept.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from orchestrator.core import records, stimuli, undo_records
from orchestrator.core.history import PAYLOADS, Entry, History, OmittedBytes, OmittedText
from orchestrator.core.settings import RunSettings
from orchestrator.core.undo_records import UndoState
from runtime import failure
from runtime.capabilities import Missing
from runtime.ipc import executor_protocol, guardian_protocol, undo
from runtime.plain_signal import PlainSignal, is_signal
from runtime.statuses import ExecutionStatus, Severity

_STRUCTS: dict[str, type[Any]] = {
    name: kind
    for module in (stimuli, records, undo_records, executor_protocol, guardian_protocol, undo, failure)
    for name, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, msgspec.Struct)
}
_ENUMS: dict[str, type[Any]] = {kind.__name__: kind for kind in (ExecutionStatus, Severity, Missing, UndoState)}


def dump(settings: RunSettings, history: History) -> str:
    """Return a history as text."""
    of_this_host = {name: getattr(settings, name) for name in ("host_grace", "host_ends_at", "stop_on")}  # not kept
    about = {"settings": settings.model_dump(mode="json") | of_this_host, "dropped": history.dropped}
    lines = [about, *({"at": now, **render(stimulus)} for now, stimulus in history)]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def load(text: str) -> tuple[RunSettings, History]:
    """Read what `dump` wrote. Raises ValueError or KeyError for anything else."""
    about, *lines = map(json.loads, text.splitlines())
    entries = [Entry(line.pop("at"), _read(line)) for line in lines]
    return RunSettings.model_validate(about["settings"]), History(entries, about["dropped"])


def render(value: Any, limit: int = sys.maxsize) -> Any:
    """Return a value as JSON can have it. Text and bytes are cut at `limit`; what is not known is shown by `repr`."""
    if is_signal(value):
        return {"type": "InterruptSignal", **value.model_dump(mode="json")}
    if isinstance(value, msgspec.Struct):
        hidden = PAYLOADS.get(type(value), ())
        members = {name: getattr(value, name) for name in value.__struct_fields__}
        return {"type": type(value).__name__} | {
            name: {"type": "bytes", "size": len(member)}
            if name in hidden and isinstance(member, bytes)
            else render(member, limit)
            for name, member in members.items()
        }
    if type(value).__name__ in _ENUMS:
        return {"type": type(value).__name__, "value": str(value)}
    if isinstance(value, bytes | str):
        return _render_text(value, limit)
    if isinstance(value, Mapping):
        return {"type": "dict", "items": [[render(key, limit), render(item, limit)] for key, item in value.items()]}
    if isinstance(value, frozenset):
        return {"type": "frozenset", "items": sorted(render(item, limit) for item in value)}
    if isinstance(value, Sequence):
        return [render(item, limit) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else repr(value)


def _render_text(value: bytes | str, limit: int) -> Any:
    kept = value[:limit]  # of an omitted one: its beginning
    text = kept if isinstance(kept, str) else kept.decode("latin-1")
    cut = {"size": len(value)} if len(kept) < len(value) else {}
    if isinstance(value, bytes):
        return {"type": "bytes", "text": text, **cut}
    return {"type": "str", "text": text, **cut} if cut else text


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.pop("type")
    if kind in {"bytes", "str"}:
        return _read_text(kind, **value)
    if kind in _ENUMS:
        return _ENUMS[kind](value["value"])
    if kind == "dict":
        return {_read(key): _read(item) for key, item in value["items"]}
    if kind == "frozenset":
        return frozenset(_read(value["items"]))
    if kind == "InterruptSignal":
        return msgspec.convert(value, PlainSignal)
    return _STRUCTS[kind](**{name: _read(item) for name, item in value.items()})


def _read_text(kind: str, text: str = "", size: int | None = None) -> bytes | str:
    if kind == "str":
        return text if size is None else OmittedText.of(text, size)
    data = text.encode("latin-1")
    return data if size is None else OmittedBytes.of(data, size)

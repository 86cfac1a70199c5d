"""EventPrinter: the events of an execution for human eyes, one line each, and a panel for the interrupt.

Plain text by itself; ANSI colours where a terminal is and NO_COLOR is not; a frame of ASCII where the stream's encoding
has no lines. It writes the few escapes it needs itself: a library of 60 ms start-up for eight colours would be paid by
every executor.
"""

from __future__ import annotations

import os
import sys
import textwrap
import unicodedata
from collections.abc import Callable
from datetime import datetime
from typing import TextIO

from runtime.model import Event, InterruptEvent
from runtime.text import printable

_RESET = "\x1b[0m"
_COLOURS = {"dim": "\x1b[2m", "red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m", "cyan": "\x1b[36m"}
_STATUS_COLOUR = {
    "completed": "green",
    "recovered": "green",
    "failed": "red",
    "interrupted": "yellow",
    "cancelling": "yellow",
    "retrying": "yellow",
}
_SEVERITY_COLOUR = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "red"}
_WIDTH = 72
_LINES_AND_CORNERS = "─│┌┐└┘"
_ASCII_LINES_AND_CORNERS = "-|++++"


class EventPrinter:
    """A subscriber: `state.event_bus.subscribe(EventPrinter())`. Writes to standard error by default.

    `colour` None means: if `file` is a terminal and NO_COLOR is not set.
    """

    def __init__(self, file: TextIO | None = None, *, colour: bool | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._colour = _wants_colour(self._file) if colour is None else colour
        self._encoding = getattr(self._file, "encoding", None) or "utf-8"
        self._frame = _ASCII_LINES_AND_CORNERS
        if _encoded(_LINES_AND_CORNERS, self._encoding) == _LINES_AND_CORNERS:
            self._frame = _LINES_AND_CORNERS

    def __call__(self, event: Event) -> None:
        """Print one event."""
        self._file.write(_encoded(self.render(event), self._encoding) + "\n")
        self._file.flush()

    def render(self, event: Event) -> str:
        """Return the text of one event, without the last line end."""
        if isinstance(event, InterruptEvent):
            return self._panel(event)
        try:
            text, colour = _LINES.get(event.kind, _other)(event)
        except (AttributeError, LookupError, TypeError, ValueError):  # an event of a program's own with such a kind
            text, colour = _other(event)
        at = datetime.fromtimestamp(event.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
        where = f"{printable(event.address)} " if event.address else ""
        return f"{self._paint(at, 'dim')} {self._paint(where, 'cyan')}{self._paint(text, colour)}"

    def _panel(self, event: InterruptEvent) -> str:
        signal = event.signal
        when = signal.triggered_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        cancels = ", ".join(map(str, event.data.get("cancels", ()))) or "nothing"
        rows = [
            ("reason", str(signal.reason)),
            ("message", signal.message or "-"),
            ("triggered by", signal.triggered_by or "-"),
            ("when", when),
            ("where", event.address or "-"),
            ("snapshot", _snapshot(event)),
            ("cancels", cancels),
        ]
        body = [line for label, text in rows for line in _row(label, text)]
        flat, upright, *corners = tuple(self._frame)
        top = f"{corners[0]}{flat} interrupted ".ljust(_WIDTH, flat) + corners[1]
        rows_between = (f"{upright} {line}{' ' * (_WIDTH - 2 - _columns(line))}{upright}" for line in body)
        bottom = corners[2].ljust(_WIDTH, flat) + corners[3]
        return "\n".join(self._paint(line, "yellow") for line in (top, *rows_between, bottom))

    def _paint(self, text: str, colour: str) -> str:
        if not self._colour or not colour or not text:
            return text
        return f"{_COLOURS[colour]}{text}{_RESET}"


def _wants_colour(file: TextIO) -> bool:
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _row(label: str, text: str) -> list[str]:
    lines = _wrapped(printable(text), _WIDTH - 17) or ["-"]
    return [f"{label if not index else '':<13} {line}" for index, line in enumerate(lines)]


def _wrapped(text: str, width: int) -> list[str]:
    if text.isascii():
        return textwrap.wrap(text, width)
    lines = [""]
    for char in text:  # textwrap counts characters, not columns
        if _columns(lines[-1]) + _columns(char) > width:
            lines.append("")
        lines[-1] += char
    return lines if text else []


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _encoded(text: str, encoding: str) -> str:
    """Return a text as an encoding can show it, with escapes for characters that it lacks."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _snapshot(event: InterruptEvent) -> str:
    if not event.signal.save_checkpoint:
        return "not wanted"
    return "saved" if event.data.get("snapshot_saved") else "none so far"


def _execution(event: Event) -> tuple[str, str]:
    data = event.data
    status = str(data.get("status", "?"))
    seconds = "" if status == "started" else f" after {data.get('execution_time', 0.0):.3f} s"
    message = f": {printable(str(data['message']))}" if data.get("message") else ""
    return f"{printable(status)}{seconds}{message}", _STATUS_COLOUR.get(status, "")


def _log(event: Event) -> tuple[str, str]:
    data = event.data
    metadata = "".join(f" {key}={value!r}" for key, value in (data.get("metadata") or {}).items())
    severity = str(data.get("severity", "info"))
    return printable(f"{severity}: {data.get('message', '')}{metadata}"), _SEVERITY_COLOUR.get(severity, "")


def _progress(event: Event) -> tuple[str, str]:
    done, total = event.data["done"], event.data["total"]
    if total:
        return f"progress {done}/{total} ({done / total:.0%})", "dim"
    return f"progress {printable(str(done))}", "dim"


def _other(event: Event) -> tuple[str, str]:
    return printable(" ".join((event.kind, *(f"{key}={value!r}" for key, value in event.data.items())))), ""


_LINES: dict[str, Callable[[Event], tuple[str, str]]] = {
    "execution": _execution,
    "log": _log,
    "progress": _progress,
}

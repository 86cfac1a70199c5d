"""EventPrinter: the events of an execution for human eyes, one line each, and a panel for the interrupt.

Plain text by itself; ANSI colours where a terminal is and NO_COLOR is not. It writes the few escapes it needs itself:
a library of 60 ms start-up for eight colours would be paid by every executor.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from datetime import datetime
from typing import Any, TextIO

from runtime.model import Event, InterruptEvent

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


class EventPrinter:
    """A subscriber: `state.event_bus.subscribe(EventPrinter())`. Writes to standard error by default.

    `colour` None means: if `file` is a terminal and NO_COLOR is not set.
    """

    def __init__(self, file: TextIO | None = None, *, colour: bool | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._colour = _wants_colour(self._file) if colour is None else colour

    def __call__(self, event: Event) -> None:
        """Print one event."""
        self._file.write(self.render(event) + "\n")
        self._file.flush()

    def render(self, event: Event) -> str:
        """The text of one event, without the last line end."""
        if isinstance(event, InterruptEvent):
            return self._panel(event)
        line = _LINES.get(event.kind)
        text, colour = line(event.data) if line is not None else (_other(event), "")
        at = datetime.fromtimestamp(event.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
        where = f"{event.address} " if event.address else ""
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
        top = "┌─ interrupted ".ljust(_WIDTH, "─") + "┐"
        return "\n".join(
            self._paint(line, "yellow")
            for line in (top, *(f"│ {line}".ljust(_WIDTH) + "│" for line in body), "└".ljust(_WIDTH, "─") + "┘")
        )

    def _paint(self, text: str, colour: str) -> str:
        if not self._colour or not colour or not text:
            return text
        return f"{_COLOURS[colour]}{text}{_RESET}"


def _wants_colour(file: TextIO) -> bool:
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _row(label: str, text: str) -> list[str]:
    lines = textwrap.wrap(printable(text), _WIDTH - 17) or ["-"]
    return [f"{label if not index else '':<13} {line}" for index, line in enumerate(lines)]


def _snapshot(event: InterruptEvent) -> str:
    if not event.signal.save_checkpoint:
        return "not wanted"
    return "saved" if event.data.get("snapshot_saved") else "none so far"


def printable(text: str) -> str:
    """Text that cannot move the cursor or recolour the terminal, whoever wrote it, and stays on its line."""
    return "".join(char if char.isprintable() else " " for char in text)


def _execution(data: dict[str, Any]) -> tuple[str, str]:
    status = str(data.get("status", "?"))
    seconds = "" if status == "started" else f" after {data.get('execution_time', 0.0):.3f} s"
    message = f": {printable(str(data['message']))}" if data.get("message") else ""
    return f"{status}{seconds}{message}", _STATUS_COLOUR.get(status, "")


def _log(data: dict[str, Any]) -> tuple[str, str]:
    metadata = "".join(f" {key}={value!r}" for key, value in (data.get("metadata") or {}).items())
    severity = str(data.get("severity", "info"))
    return f"{severity}: {printable(str(data.get('message', '')) + metadata)}", _SEVERITY_COLOUR.get(severity, "")


def _progress(data: dict[str, Any]) -> tuple[str, str]:
    done, total = data.get("done"), data.get("total")
    if not total:
        return f"progress {done}", "dim"
    return f"progress {done}/{total} ({done / total:.0%})" if isinstance(
        done, int | float
    ) else f"progress {done}", "dim"


def _other(event: Event) -> str:
    return printable(" ".join((event.kind, *(f"{key}={value!r}" for key, value in event.data.items()))))


_LINES: dict[str, Callable[[dict[str, Any]], tuple[str, str]]] = {
    "execution": _execution,
    "log": _log,
    "progress": _progress,
}

"""EventPrinter: the events of an execution for human eyes, one line each, and a panel for the interrupt.

Plain text by itself; colours on a terminal unless NO_COLOR is set; a frame of ASCII where the stream's encoding has no
lines. On rich, which only a program that prints events loads: `runtime` imports this module on first use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TextIO

from rich.box import SQUARE
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runtime.model import Event, InterruptEvent
from runtime.terminal import has_colour
from runtime.text import printable

_STATUS_COLOUR = {
    "completed": "green",
    "recovered": "green",
    "failed": "red",
    "interrupted": "yellow",
    "cancelling": "yellow",
    "retrying": "yellow",
}
_SEVERITY_COLOUR = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "red"}
_WIDTH = 73


class EventPrinter:
    """A subscriber: `state.event_bus.subscribe(EventPrinter())`. Writes to standard error by default.

    `colour` None means: if `file` is a terminal and NO_COLOR is not set.
    """

    def __init__(self, file: TextIO | None = None, *, colour: bool | None = None) -> None:
        self._file = sys.stderr if file is None else file
        colour = has_colour(self._file) if colour is None else colour
        self._console = Console(
            file=self._file,
            width=_WIDTH,
            color_system="standard" if colour else None,
            no_color=not colour,
            force_terminal=colour,
            legacy_windows=False,
        )

    def __call__(self, event: Event) -> None:
        """Print one event. Characters that the stream's encoding lacks are written as escapes."""
        encoding = getattr(self._file, "encoding", None) or "utf-8"
        self._file.write(self.render(event).encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._file.flush()

    def render(self, event: Event) -> str:
        """Return the text of one event, without the last line end."""
        content = _panel(event) if isinstance(event, InterruptEvent) else _line(event)
        with self._console.capture() as captured:
            self._console.print(content, soft_wrap=isinstance(content, Text))
        return captured.get().removesuffix("\n")


def _line(event: Event) -> Text:
    try:
        text, colour = _LINES.get(event.kind, _other)(event)
    except (AttributeError, LookupError, TypeError, ValueError):  # an event of a program's own with such a kind
        text, colour = _other(event)
    at = datetime.fromtimestamp(event.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    where = f"{printable(event.address)} " if event.address else ""
    return Text.assemble((at, "dim"), " ", (where, "cyan"), (text, colour))


def _panel(event: InterruptEvent) -> RenderableType:
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
    table = Table.grid(padding=(0, 1))
    table.add_column(min_width=13)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, Text(printable(text)))
    return Panel(
        table, title="interrupted", title_align="left", box=SQUARE, padding=(0, 1), width=_WIDTH, style="yellow"
    )


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

"""EventPrinter: readable, coloured where a terminal is, and no way in for escape codes."""

from __future__ import annotations

import io
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest

from runtime.events.bus import EventBus
from runtime.execution.printer import EventPrinter
from runtime.model import Event, InterruptEvent, InterruptReason, InterruptSignal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def line(kind: str, **data: Any) -> str:
    """A rendered event without its time."""
    text = EventPrinter(io.StringIO()).render(Event(kind=kind, data=data, address="a::b", at=0.0))
    assert re.match(r"\d\d:\d\d:\d\d\.000 a::b ", text)
    return text[len("00:00:00.000 a::b ") :]


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("execution", {"status": "started"}, "started"),
        ("execution", {"status": "completed", "execution_time": 1.5}, "completed after 1.500 s"),
        ("execution", {"status": "failed", "execution_time": 0, "message": "no"}, "failed after 0.000 s: no"),
        ("log", {"message": "hello", "severity": "warning", "metadata": {"n": 1}}, "warning: hello n=1"),
        ("progress", {"done": 1, "total": 4}, "progress 1/4 (25%)"),
        ("progress", {"done": 7, "total": None}, "progress 7"),
        ("page", {"number": 3}, "page number=3"),
        ("progress", {"done": "most", "total": "all"}, "progress done='most' total='all'"),
        ("progress", {"step": 3}, "progress step=3"),
        ("log", {"message": "hello", "metadata": [1]}, "log message='hello' metadata=[1]"),
    ],
)
def test_lines(kind: str, data: dict[str, Any], text: str) -> None:
    assert line(kind, **data) == text


def interrupt(**options: Any) -> InterruptEvent:
    signal = InterruptSignal(
        reason=InterruptReason.TIMEOUT,
        triggered_at=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        **{"message": "too slow", "triggered_by": "deadline", **options},
    )
    return InterruptEvent(
        signal=signal, address="audit::parse", data={"snapshot_saved": True, "cancels": ["ticker", "100 of fetch"]}
    )


def test_the_panel_tells_everything() -> None:
    panel = EventPrinter(io.StringIO()).render(interrupt())
    for word in ("timeout", "too slow", "deadline", "2024-01-0", "audit::parse", "saved", "ticker, 100 of fetch"):
        assert word in panel
    assert len({len(row) for row in panel.splitlines()}) == 1


def test_the_panel_of_little() -> None:
    event = InterruptEvent(signal=InterruptSignal(reason=InterruptReason.CUSTOM))
    assert "none so far" in EventPrinter(io.StringIO()).render(event)
    assert "not wanted" in EventPrinter(io.StringIO()).render(interrupt(save_checkpoint=False))


def test_a_long_message_is_wrapped() -> None:
    panel = EventPrinter(io.StringIO()).render(interrupt(message="word " * 100))
    assert len({len(row) for row in panel.splitlines()}) == 1


def test_colour_where_a_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    event = Event(kind="execution", data={"status": "failed"})
    assert "\x1b[31m" in EventPrinter(Terminal()).render(event)
    assert "\x1b" in EventPrinter(Terminal()).render(interrupt())
    assert "\x1b" not in EventPrinter(io.StringIO()).render(event)
    assert "\x1b" in EventPrinter(io.StringIO(), colour=True).render(event)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in EventPrinter(Terminal()).render(event)


def test_escape_codes_in_a_message_do_not_reach_the_terminal() -> None:
    nasty = "\x1b[2J\r\nfake\x9b31m"
    assert "\x1b" not in line("log", message=nasty, severity="info")
    assert "\n" not in line("execution", status="failed", message=nasty)
    panel = EventPrinter(io.StringIO()).render(interrupt(message=nasty, triggered_by=nasty))
    assert not {"\x1b", "\r", "\x9b"} & set(panel)


def test_escape_codes_in_an_address_do_not_reach_the_terminal() -> None:
    event = Event(kind="progress", data={"done": "\x1b[2J", "total": None}, address="fetch::\x1b]0;title\x07")
    assert not {"\x1b", "\x07"} & set(EventPrinter(io.StringIO()).render(event))


def test_the_panel_of_wide_characters_is_straight() -> None:
    panel = EventPrinter(io.StringIO()).render(interrupt(message="締め切りに間に合わなかった e\u0301té " * 5))
    wide = [sum(unicodedata.east_asian_width(char) in "WF" for char in row) for row in panel.splitlines()]
    flat = [row.count("\u0301") for row in panel.splitlines()]
    widths = {len(row) + more - less for row, more, less in zip(panel.splitlines(), wide, flat, strict=True)}
    assert widths == {73}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_of_any_encoding_will_do(encoding: str) -> None:
    raw = io.BytesIO()
    printer = EventPrinter(io.TextIOWrapper(raw, encoding=encoding))
    printer(Event(kind="log", data={"message": "日本", "severity": "info"}))
    printer(interrupt())
    text = raw.getvalue().decode(encoding)
    assert ("日本" if encoding == "utf-8" else "\\u65e5\\u672c") in text
    assert ("┌─ interrupted" if encoding == "utf-8" else "+- interrupted") in text


def test_as_a_subscriber() -> None:
    file = io.StringIO()
    bus = EventBus()
    bus.subscribe(EventPrinter(file))
    bus.publish_nowait(Event(kind="log", data={"message": "hello", "severity": "info"}))
    bus.publish_nowait(interrupt())
    assert "info: hello" in file.getvalue()
    assert "┌─ interrupted" in file.getvalue()

"""Let a program print while a live display is shown on the same terminal: what it prints stands above the display.

While the display is shown, standard output and standard error are replaced by streams that queue what is written; the
display writes it to the real ones, as it is, whenever it draws. A stream that is no terminal is left alone.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO


class PrintedText:
    """What a program has printed and the display has not yet written. `begin` and `end` belong to one thread."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[TextIO, str]] = deque()
        self._replaced: dict[str, tuple[TextIO, _QueuedStream]] = {}
        self._pid = os.getpid()

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be written."""
        return bool(self._waiting)

    def begin(self) -> None:
        """Take the place of the streams that are terminals."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            with suppress(Exception):  # a stream of the program's own may be of any kind
                if stream.isatty():
                    replacement = _QueuedStream(stream, self._put)
                    self._replaced[name] = stream, replacement
                    setattr(sys, name, replacement)

    def end(self) -> None:
        """Give the streams back. What is still waiting is to be written by `write`."""
        for name, (stream, replacement) in self._replaced.items():
            if getattr(sys, name) is replacement:
                setattr(sys, name, stream)
            replacement.finish()
        self._replaced.clear()

    def _put(self, stream: TextIO, text: str) -> None:
        if os.getpid() != self._pid:  # a fork of the program, without the display's thread
            stream.write(text)
        else:
            self._waiting.append((stream, text))

    def write(self) -> None:
        """Write what is waiting, in order. Blocks while the terminal is not read."""
        written: list[TextIO] = []
        while self._waiting:
            stream, text = self._waiting.popleft()
            with suppress(OSError, ValueError):  # the terminal is gone, or the program has closed the stream
                stream.write(text)
            if stream not in written:
                written.append(stream)
        for stream in written:
            with suppress(OSError, ValueError):
                stream.flush()


class _QueuedStream:
    """A stream that queues whole lines, and does everything else as the real one does."""

    def __init__(self, stream: TextIO, put: Callable[[TextIO, str], None]) -> None:
        self._stream = stream
        self._put = put
        self._lock = threading.Lock()
        self._begun = ""

    def write(self, text: str) -> int:
        """Queue the lines that are whole; keep the rest until it is, or until `flush`."""
        with self._lock:
            lines, end, rest = (self._begun + text).rpartition("\n")
            if end:
                self._put(self._stream, lines + end)
            self._begun = rest
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: what is printed appears when the display is drawn, several times a second."""

    def finish(self) -> None:
        """Queue a line that has no end, too."""
        with self._lock:
            rest, self._begun = self._begun, ""
        if rest:
            self._put(self._stream, rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

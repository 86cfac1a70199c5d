"""Show a run on a terminal: a bar, the numbers, and what every executor does, drawn again several times a second."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Self, cast

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.core.progress import Progress
from orchestrator.core.status import StatusView
from orchestrator.display import frame
from orchestrator.display.text import loading
from orchestrator.logging.sinks import DescriptorSink, Sink, standard_error
from runtime.stop_limits import OUTPUT_TIMEOUT
from runtime.terminal import ColourMode, chosen_colours

_WAITING_LINES = 2000  # beyond this the oldest are dropped: no person reads at that speed


class _Terminal(io.TextIOBase):
    """Standard error as a file for rich. Never waits, and ignores a closed terminal, which SIGHUP reports."""

    encoding = sys.stderr.encoding if sys.stderr is not None else "utf-8"

    def __init__(self, sink: DescriptorSink) -> None:
        self._sink = sink

    def write(self, text: str) -> int:
        """Queue text to be written."""
        self._sink.write(text.encode(self.encoding, "replace"))
        return len(text)

    def isatty(self) -> bool:
        """Return whether standard error is a terminal."""
        return os.isatty(2)

    def fileno(self) -> int:
        """Return the descriptor of standard error."""
        return 2


class LiveDisplay:
    """Display with a progress bar, the tasks of the executors, and during a stop the time until the next rung."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._output = standard_error()
        no_color = True if chosen_colours() is ColourMode.NEVER else None  # None: as NO_COLOR says
        self._console = Console(file=cast("IO[str]", _Terminal(self._output)), highlight=False, no_color=no_color)
        self._lines: deque[str] = deque(maxlen=_WAITING_LINES)
        self._lost = 0
        self._live = self._make_live()
        self._began: float | None = None
        self._drawing = threading.Lock()
        self._is_shown = False
        self._frame = Group()

    @property
    def sink(self) -> Sink:
        """The display itself: `update` prints queued lines above the bar, so the engine never waits for a terminal."""
        return self

    def write_line(self, line: str) -> None:
        """Queue a line; drop the oldest one if too many wait."""
        self._lost += len(self._lines) == _WAITING_LINES
        self._lines.append(line)

    def is_congested(self) -> bool:
        """Return False: lines that come too fast are dropped."""
        return False

    def flush(self, limit: float | None = None) -> bool:
        """Return True: `update` and the end of the block write the lines."""
        return True

    def __enter__(self) -> Self:
        with self._drawing:
            self._start()
        return self

    def _make_live(self) -> Live:
        return Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def _start(self) -> None:
        self._measure()
        self._live = self._make_live()  # one that was stopped would erase as many lines again as it had drawn
        self._live.start()
        self._console.show_cursor(True)  # a terminal keeps its cursor if this process is killed (Ctrl-\\)
        self._is_shown = True

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Erase the display while the block runs, then draw it below what was written meanwhile."""
        with self._drawing:
            was_shown = self._is_shown
            if was_shown:
                self._print_lines()
                self._live.stop()
                self._output.flush(OUTPUT_TIMEOUT)  # now, because a stopped process writes nothing
            try:
                yield
            finally:
                if was_shown:
                    self._start()
                    self._live.update(self._frame, refresh=True)

    def __exit__(self, *_: object) -> None:
        with self._drawing:
            self._print_lines()
            self._live.stop()
            self._is_shown = False

    def update(self, status: StatusView, progress: Progress, now: float) -> None:
        """Draw the display, unless the last drawing is not yet written: a slow terminal gets fewer drawings."""
        if self._began is None:
            self._began = now
        with self._drawing:
            if self._output.is_idle:
                self._measure()
                size = self._console.size
                elapsed = now - self._began
                self._draw(frame.lines(self._title, status, progress, now, elapsed, size.width, size.height))

    def show_loading(self, agent: str, seconds: float | None) -> None:
        """Show a slow import, from its first second on."""
        if seconds is None or seconds < 1:
            return
        with self._drawing:
            if self._output.is_idle:
                line = f"{frame.spinner(seconds)} {loading(agent, seconds)}"
                self._draw([Text(line, style="dim", no_wrap=True, overflow="ellipsis")])

    def _measure(self) -> None:
        """Ask the terminal for its size: COLUMNS and LINES, which rich prefers, may be those of another one."""
        with suppress(OSError):
            size = os.get_terminal_size(2)
            if size.columns and size.lines:
                self._console.size = ConsoleDimensions(size.columns, size.lines)

    def _draw(self, lines: list[RenderableType]) -> None:
        self._print_lines()
        self._frame = Group(*lines)
        self._live.update(self._frame, refresh=True)

    def _print_lines(self) -> None:
        """Print all queued lines with one call, because each call draws the display again."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        lost, self._lost = self._lost, 0
        if lost:
            lines.insert(0, f"... {lost} lines were lost: they came faster than a terminal shows them")
        if lines:
            self._console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)

"""Show a run to a person: a live display in a terminal, only log lines elsewhere."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Protocol, Self, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from orchestrator.core.ladder import Rung
from orchestrator.core.slots import ExecutorView
from orchestrator.core.status import Phase, StatusView
from orchestrator.logging.sinks import DescriptorSink, Sink, standard_error
from runtime.stop_limits import OUTPUT_TIMEOUT
from runtime.text import single_line

_SHOWN_EXECUTORS = 8
_TITLE, _WIDEST = 60, 200  # most characters of text from outside: longer text does not fit on a line
_WAITING_LINES = 2000  # beyond this the oldest are dropped: no person reads at that speed
_NEXT = {Rung.FLAG: "SIGTERM", Rung.TERM: "SIGKILL", Rung.KILL: "giving up"}


class Display(Protocol):
    """Display of a run. Only the main thread enters, leaves and updates it; any thread may use the sink."""

    @property
    def sink(self) -> Sink:
        """The sink for log lines while the display is shown."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def update(self, status: StatusView, now: float) -> None:
        """Show the status. `now` is monotonic."""
        ...

    def cleared(self) -> AbstractContextManager[None]:
        """Clear the display while the block runs, so that the shell has the terminal. Thread-safe."""
        ...

    def show_loading(self, agent: str, seconds: float | None) -> None:
        """Show for how many seconds the agent has been loading; None: it is loaded."""
        ...


class PlainDisplay:
    """Display that shows log lines only."""

    @property
    def sink(self) -> Sink:
        """Standard error."""
        return standard_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, status: StatusView, now: float) -> None:
        """Show nothing: the log has it."""

    def cleared(self) -> AbstractContextManager[None]:
        """Clear nothing."""
        return nullcontext()

    def show_loading(self, agent: str, seconds: float | None) -> None:
        """Show nothing: the log has it."""


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
    """Display with a progress bar, the task of every executor, and during a stop the time until the next rung."""

    def __init__(self, title: str) -> None:
        self._output = standard_error()
        self._console = Console(file=cast("IO[str]", _Terminal(self._output)), highlight=False)
        self._lines: deque[str] = deque(maxlen=_WAITING_LINES)
        self._lost = 0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[extra]}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._bar = self._progress.add_task(single_line(title, _TITLE), total=None, extra="")
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._began: tuple[float, int] | None = None
        self._drawing = threading.Lock()
        self._is_shown = False
        self._loading: str | None = None

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

    def _start(self) -> None:
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

    def __exit__(self, *_: object) -> None:
        with self._drawing:
            self._print_lines()
            self._live.stop()
            self._is_shown = False

    def update(self, status: StatusView, now: float) -> None:
        """Draw the display, unless the last drawing is not yet written: a slow terminal gets fewer drawings."""
        with self._drawing:
            if self._output.is_idle:
                self._draw(status, now)

    def _draw(self, status: StatusView, now: float) -> None:
        self._print_lines()
        done = status.finished
        if self._began is None:
            self._began = (now, done)
        extra = f"{self._rate(now, done):.0f}/s" if now > self._began[0] else ""
        if status.failed:
            extra += f"  [red]{status.failed} failed"
        self._progress.update(self._bar, completed=done, total=status.accepted or None, extra=extra)
        self._live.update(Group(self._progress, *self._below(status, now)), refresh=True)

    def _rate(self, now: float, done: int) -> float:
        assert self._began is not None
        return (done - self._began[1]) / max(0.001, now - self._began[0])

    def show_loading(self, agent: str, seconds: float | None) -> None:
        """Show a slow import, from its first second on."""
        self._loading = None if seconds is None or seconds < 1 else loading_line(agent, seconds)
        if seconds is None:
            return
        with self._drawing:
            if self._output.is_idle:
                self._print_lines()
                self._live.update(Group(self._progress, *self._loading_lines()), refresh=True)

    def _loading_lines(self) -> list[RenderableType]:
        return [] if self._loading is None else [Text(self._loading, style="dim", no_wrap=True, overflow="ellipsis")]

    def _below(self, status: StatusView, now: float) -> list[RenderableType]:
        lines = self._loading_lines()
        if status.signal is not None:
            lines.append(Text(stopping_line(status, now), style="bold yellow", no_wrap=True, overflow="ellipsis"))
        busy = [view for view in status.executors if view.tasks]
        lines += [
            Text(executor_line(view, now), style="dim", no_wrap=True, overflow="ellipsis")
            for view in busy[:_SHOWN_EXECUTORS]
        ]
        if len(busy) > _SHOWN_EXECUTORS:
            lines.append(Text(f"  … and {len(busy) - _SHOWN_EXECUTORS} more", style="dim"))
        return lines

    def _print_lines(self) -> None:
        """Print all queued lines with one call, because each call draws the display again."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        lost, self._lost = self._lost, 0
        if lost:
            lines.insert(0, f"... {lost} lines were lost: they came faster than a terminal shows them")
        if lines:
            self._console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)


def stopping_line(status: StatusView, now: float) -> str:
    """Return the line about a stop: its reason, the executors that still run, and the next rung."""
    assert status.signal is not None
    reason = single_line(status.signal.message or status.signal.reason.value, _WIDEST)
    count = len(status.executors)
    if status.phase in (Phase.SWEEPING, Phase.ENDED) or not count:
        return f"stopping: {reason}; all executors are gone, looking for processes that they left"
    executors = "1 executor" if count == 1 else f"{count} executors"
    line = f"stopping: {reason}; waiting for {executors}"
    if status.next_rung is not None and status.rung in _NEXT:
        line += f", {_NEXT[status.rung]} in {max(0.0, status.next_rung - (now - status.at)):.0f} s (Ctrl-C: now)"
    return line


def loading_line(agent: str, seconds: float) -> str:
    """Return the line about an agent that is being imported."""
    return f"  loading {single_line(agent, _WIDEST)}, {seconds:.0f} s"


def executor_line(view: ExecutorView, now: float) -> str:
    """Return the line about an executor: slot, process, tasks, and for how long."""
    tasks = ", ".join(single_line(key, _WIDEST) for key in view.tasks)
    since = f"  {now - view.started_at:.1f} s" if view.started_at is not None else ""
    return f"  executor {view.slot} ({view.pid}): {tasks}{since}"


def choose_display(progress: str, title: str) -> Display:
    """Return the display for `on`, `off` or `auto`: live if standard error is a terminal that can show it."""
    is_capable = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if progress == "on" or (progress == "auto" and is_capable):
        return LiveDisplay(title)
    return PlainDisplay()

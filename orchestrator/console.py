"""What a person sees while a run goes on: a live display in a terminal, nothing but log lines elsewhere."""

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

from orchestrator.ladder import Rung
from orchestrator.sinks import DescriptorSink, Sink, standard_error
from orchestrator.slots import ExecutorView
from orchestrator.view import Phase, StatusView

_SHOWN_EXECUTORS = 8
_WAITING_LINES = 2000  # more of them lose the oldest: nobody reads them at that speed
_NEXT = {Rung.FLAG: "SIGTERM", Rung.TERM: "SIGKILL", Rung.KILL: "giving up"}


class Display(Protocol):
    """Shows a run. Only the main thread calls `update` and the block's ends; any thread may use the sink."""

    @property
    def sink(self) -> Sink:
        """Where log lines go meanwhile."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def update(self, status: StatusView, now: float) -> None:
        """Show this."""
        ...

    def cleared(self) -> AbstractContextManager[None]:
        """Leave the terminal to the shell while the block runs. From any thread."""
        ...


class PlainDisplay:
    """Log lines only."""

    @property
    def sink(self) -> Sink:
        """Standard error."""
        return standard_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, status: StatusView, now: float) -> None:
        """Nothing: the log says it."""

    def cleared(self) -> AbstractContextManager[None]:
        """Nothing is there to be cleared."""
        return nullcontext()


class _Terminal(io.TextIOBase):
    """Standard error for rich. A terminal that is stopped or closed is no error: SIGHUP or its reader will tell."""

    encoding = sys.stderr.encoding if sys.stderr is not None else "utf-8"

    def __init__(self, sink: DescriptorSink) -> None:
        self._sink = sink

    def write(self, text: str) -> int:
        """Write what there is room for."""
        self._sink.write(text.encode(self.encoding, "replace"))
        return len(text)

    def isatty(self) -> bool:
        """As standard error is."""
        return os.isatty(2)

    def fileno(self) -> int:
        """Standard error's."""
        return 2


class LiveDisplay:
    """A progress bar, what every executor does, and while it stops, what it waits for and how long."""

    def __init__(self, title: str) -> None:
        self._console = Console(file=cast("IO[str]", _Terminal(standard_error())), highlight=False)
        self._lines: deque[str] = deque(maxlen=_WAITING_LINES)
        self._lost = 0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[extra]}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._bar = self._progress.add_task(title, total=None, extra="")
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._began: tuple[float, int] | None = None
        self._drawing = threading.Lock()
        self._is_shown = False

    @property
    def sink(self) -> Sink:
        """Lines are queued, and printed above the bar by `update`: the engine never waits for a terminal."""
        return self

    def write_line(self, line: str) -> None:
        """Show a line soon."""
        self._lost += len(self._lines) == _WAITING_LINES
        self._lines.append(line)

    def __enter__(self) -> Self:
        with self._drawing:
            self._start()
        return self

    def _start(self) -> None:
        self._live.start()
        self._console.show_cursor(True)  # who kills us (Ctrl-\\) leaves a terminal with one
        self._is_shown = True

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Erase the display, and draw it anew below whatever stands there then. Nothing where it is not shown."""
        with self._drawing:
            was_shown = self._is_shown
            if was_shown:
                self._print_lines()
                self._live.stop()
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
        """Draw it anew."""
        with self._drawing:
            self._draw(status, now)

    def _draw(self, status: StatusView, now: float) -> None:
        self._print_lines()
        done = status.completed + status.failed
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

    def _below(self, status: StatusView, now: float) -> list[RenderableType]:
        lines: list[RenderableType] = []
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
        """All at once: with each print the display is drawn anew."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        lost, self._lost = self._lost, 0
        if lost:
            lines.insert(0, f"... {lost} lines were lost: they came faster than they can be shown")
        if lines:
            self._console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)


def stopping_line(status: StatusView, now: float) -> str:
    """One line: why it stops, for whom it waits, and what comes when."""
    assert status.signal is not None
    why = status.signal.message or status.signal.reason.value
    waiting = len(status.executors)
    if status.phase in (Phase.SWEEPING, Phase.ENDED) or not waiting:
        return f"stopping: {why}; all executors are gone, looking for what they left"
    whom = "1 executor" if waiting == 1 else f"{waiting} executors"
    line = f"stopping: {why}; waiting for {whom}"
    if status.next_rung is not None and status.rung in _NEXT:
        line += f", {_NEXT[status.rung]} in {max(0.0, status.next_rung - (now - status.at)):.0f} s (Ctrl-C: now)"
    return line


def executor_line(view: ExecutorView, now: float) -> str:
    """One line: slot, process, task, for how long."""
    tasks = ", ".join(view.tasks)
    since = f"  {now - view.since:.1f} s" if view.since is not None else ""
    return f"  executor {view.slot} ({view.pid}): {tasks}{since}"


def choose_display(progress: str, title: str) -> Display:
    """`on`, `off`, or `auto`: live if standard error is a terminal that can do it."""
    can = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if progress == "on" or (progress == "auto" and can):
        return LiveDisplay(title)
    return PlainDisplay()

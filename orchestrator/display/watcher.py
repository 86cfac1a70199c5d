"""Show the progress of a program's run, in a thread of its own: the program is busy with its own work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from orchestrator import lazy_imports
from orchestrator.core.progress import Progress
from orchestrator.core.records import TaskOutcome
from orchestrator.core.status import StatusView
from orchestrator.display.base import Display
from orchestrator.display.choice import choose_display, is_live
from orchestrator.display.failures import FailureWarnings
from orchestrator.display.notebook import NotebookDisplay, is_notebook
from orchestrator.display.printed import PrintedText
from orchestrator.display.progress_mode import ProgressMode
from orchestrator.logging.sinks import LogCallback, Sink
from runtime.errors import error_text
from runtime.statuses import Severity
from runtime.stop_limits import OUTPUT_TIMEOUT

DRAW_SECONDS = 0.1
"""Seconds between two drawings of a live display."""

NOTEBOOK_SECONDS = 0.5
"""Seconds between two updates in a notebook, each of which is a message to a browser."""

CALLBACK_SECONDS = 1.0
"""Seconds between two calls of a program's callback, unless it set the interval."""

LINE_SECONDS = 10.0
"""Seconds between two lines, unless the program set the interval."""

ProgressCallback = Callable[[Progress], object]
"""Take how far the run is. What it returns is of no use."""

OutcomesListener = Callable[[Sequence[TaskOutcome]], None]
"""Take the outcomes that have just been recorded. Must neither block nor raise."""


class Watched(Protocol):
    """What a watcher uses of a run."""

    @property
    def status(self) -> StatusView:
        """The run as it stands."""
        ...

    @property
    def progress(self) -> Progress:
        """How far it is."""
        ...

    loading: tuple[str, float] | None
    """The agent whose import is waited for, and since when (monotonic seconds)."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait for its end. Return whether it has ended."""
        ...


class ProgressWatcher:
    """Call `show` every `interval` seconds, and once when the run has ended."""

    def __init__(self, run: Watched, show: Callable[[], object], interval: float, log: LogCallback) -> None:
        self._run = run
        self._show = show
        self._interval = interval
        self._log = log
        self._thread = threading.Thread(target=self._watch, name="quiesce-progress", daemon=True)

    def start(self) -> None:
        """Start. Where there is no thread to be had, the run goes on without."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self._log("run.progress_failed", Severity.WARNING, {"error": str(error)})

    def stop(self) -> None:
        """Wait until the end of the run was shown, for a limited time: a callback may hang."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(OUTPUT_TIMEOUT)

    def _watch(self) -> None:
        try:
            while not self._run.join(self._interval):
                self._show()
            self._show()
        except Exception as error:  # noqa: BLE001 - a callback is the program's own; the run goes on without it
            problem = f"{type(error).__name__}: {error_text(error)}"
            self._log("run.progress_failed", Severity.WARNING, {"error": problem})


class ProgressView(Protocol):
    """How a program's run is shown. `begin` and `end` belong to one thread."""

    sink: Sink | None
    """Where log lines go while it is shown, if not to standard error."""

    def begin(self, run: Watched, log: LogCallback) -> OutcomesListener | None:
        """Show a run. `log`: the program's log. Return what wants to know of outcomes that are recorded."""
        ...

    def end(self) -> None:
        """Show the end of the run, which has ended, and nothing more."""
        ...


class CallbackView:
    """Give the progress to a callback of the program."""

    sink: Sink | None = None

    def __init__(self, callback: ProgressCallback, interval: float | None) -> None:
        self._callback = callback
        self._interval = interval or CALLBACK_SECONDS
        self._watcher: ProgressWatcher | None = None

    def begin(self, run: Watched, log: LogCallback) -> None:
        """Call the callback from now on. It wants to know nothing else."""
        self._watcher = ProgressWatcher(run, lambda: self._callback(run.progress), self._interval, log)
        self._watcher.start()

    def end(self) -> None:
        """Wait for the last call."""
        if self._watcher is not None:
            self._watcher.stop()


class DisplayView:
    """Show the progress on the terminal, in the notebook, or by lines. Failed tasks are warned of."""

    def __init__(self, run_id: str, log: LogCallback | None, interval: float | None) -> None:
        self._watcher: ProgressWatcher | None = None
        self._printed = PrintedText() if not is_notebook() and is_live(ProgressMode.AUTO) else None
        self._interval = NOTEBOOK_SECONDS if is_notebook() else DRAW_SECONDS
        self._display: Display
        if is_notebook():
            self._display = NotebookDisplay(run_id)
        else:
            self._display = choose_display(
                ProgressMode.AUTO, run_id, log or _lines_of_progress, interval or LINE_SECONDS, logs_loading=True
            )
        self.sink: Sink | None = self._display.sink

    def begin(self, run: Watched, log: LogCallback) -> OutcomesListener:
        """Show the run from now on."""
        self._display.__enter__()
        if self._printed is not None:
            self._printed.begin()
        self._watcher = ProgressWatcher(run, lambda: self._update(run), self._interval, log)
        self._watcher.start()
        return FailureWarnings(log)

    def _update(self, run: Watched) -> None:
        if self._printed is not None and self._printed.is_waiting:
            with self._display.cleared():
                self._printed.write()
        status, now, loading = run.status, time.monotonic(), run.loading
        if loading is not None and status.signal is None:
            self._display.show_loading(loading[0], now - loading[1])
        elif status.accepted or status.signal is not None:
            self._display.update(status, run.progress, now)

    def end(self) -> None:
        """Remove the display, and write what was printed meanwhile."""
        if self._watcher is not None:
            self._watcher.stop()
        self._display.__exit__(None, None, None)
        if self._printed is not None:
            self._printed.end()
            self._printed.write()


def _lines_of_progress(name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
    """Log a line of progress for a program that gave no log, which shows warnings only."""
    lazy_imports.default_log(level=Severity.INFO)(name, severity, fields)


def make_view(
    progress: bool | ProgressCallback, run_id: str, log: LogCallback | None, interval: float | None
) -> ProgressView | None:
    """Return how a run is shown; None if it is not. `progress`, `log`: as Supervisor was given them."""
    if progress is False:
        return None
    return DisplayView(run_id, log, interval) if progress is True else CallbackView(progress, interval)

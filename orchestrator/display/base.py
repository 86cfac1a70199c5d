"""Define a display of a run, and the one that writes a line now and then."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, Self

from orchestrator.core.progress import Progress
from orchestrator.core.status import StatusView
from orchestrator.display import text
from orchestrator.logging.sinks import LogCallback, Sink, standard_error
from runtime.statuses import Severity

FIRST_SECONDS = 2.0
"""Seconds until the first line: a run that is over by then needs none."""


class Display(Protocol):
    """Display of a run. Only one thread enters, leaves and updates it; any thread may use the sink."""

    @property
    def sink(self) -> Sink:
        """The sink for log lines while the display is shown."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def update(self, status: StatusView, progress: Progress, now: float) -> None:
        """Show how far the run is. `now` is monotonic."""
        ...

    def cleared(self) -> AbstractContextManager[None]:
        """Clear the display while the block runs, so that the shell has the terminal. Thread-safe."""
        ...

    def show_loading(self, agent: str, seconds: float | None) -> None:
        """Show for how many seconds the agent has been loading; None: it is loaded."""
        ...


class PlainDisplay:
    """Display of log lines only: one with the progress every `interval` seconds, the first one sooner.

    interval: None for no such lines. `for_people`: rates and times are text, and no numbers. `logs_loading`: a slow
    import of the agent has lines, too, after 2 s, 4 s, 8 s …
    """

    def __init__(
        self, log: LogCallback, interval: float | None, *, for_people: bool = True, logs_loading: bool = False
    ) -> None:
        self._log = log
        self._interval = interval
        self._for_people = for_people
        self._next: float | None = None
        self._next_loading = FIRST_SECONDS if logs_loading else math.inf

    @property
    def sink(self) -> Sink:
        """Standard error."""
        return standard_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, status: StatusView, progress: Progress, now: float) -> None:
        """Log the progress if it is time."""
        if self._interval is None or not progress.total:
            return
        if self._next is None:
            self._next = now + min(FIRST_SECONDS, self._interval)
        if now < self._next or status.phase.is_over:
            return
        self._next = now + self._interval
        fields = text.fields(progress, for_people=self._for_people, long_seconds=self._interval)
        self._log("run.progress", Severity.INFO, fields)

    def cleared(self) -> AbstractContextManager[None]:
        """Clear nothing."""
        return nullcontext()

    def show_loading(self, agent: str, seconds: float | None) -> None:
        """Log it, if it is time."""
        if seconds is not None and seconds >= self._next_loading:
            self._next_loading *= 2
            self._log("agent.loading", Severity.INFO, {"agent": agent, "seconds": round(seconds)})

"""How far a run is: how many tasks are done, at what rate, how long the rest takes, and what is being executed. Pure.

*Theory.* The rate is that of the last minute, or of as many tasks as are needed for a mean that means something, so
that an estimate follows a run that becomes faster or slower. Time before the first task, such as the import of the
agent, does not count. Between the ends of two long tasks a rate that falls with the clock would be too low: tasks that
are in flight may be about to end. So time counts against the rate only from the moment on when the next ones are late.

*Rejected:* an exponentially weighted mean, because a burst of short tasks distorts it for long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.core.slots import ExecutorView, TaskView
from orchestrator.core.status import Phase, StatusView

WINDOW_SECONDS, WINDOW_TASKS = 60.0, 10
"""The rate is that of so many seconds, or of so many tasks if these took longer."""

STEP_SECONDS = 0.5
"""Seconds between two samples that are kept."""


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """Hold how far one task is: for how many seconds it has run, and what its agent gave to `state.progress` last.

    `seconds` is None for a task that its executor has and that has not begun, or has begun just now.
    """

    key: str
    seconds: float | None = None
    done: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class ExecutorProgress:
    """Hold what one executor executes: those tasks that have run longest, and how many there are `in_flight`."""

    slot: int
    pid: int | None
    tasks: tuple[TaskProgress, ...]
    in_flight: int

    @property
    def seconds(self) -> float:
        """For how many seconds its longest task has run."""
        return max((task.seconds for task in self.tasks if task.seconds is not None), default=0.0)


@dataclass(frozen=True, slots=True)
class Progress:
    """Hold how far a run is. All counts are those of the whole run, with what its earlier starts have done.

    done: tasks that have their outcome for good; `failed` of them have failed.
    total: tasks that are known so far, with those of collections that `map` was given. `is_total_known`: as far as is
    known there will be no more.
    retried: how often, since this start, a task failed and was tried again.
    interrupted: tasks that were interrupted, and run again at the next start.
    in_flight: tasks that executors execute now.
    rate: tasks per second, of late; None before the first one has ended.
    eta: seconds until all are done at that rate; None if that is not known.
    executors: those that execute something, the one with the longest-running task first.
    """

    done: int
    total: int
    is_total_known: bool
    failed: int
    retried: int
    interrupted: int
    in_flight: int
    rate: float | None = None
    eta: float | None = None
    executors: tuple[ExecutorProgress, ...] = ()

    @property
    def completed(self) -> int:
        """How many tasks were completed."""
        return self.done - self.failed


class ProgressMeter:
    """Measure how fast tasks end. One thread calls `add`; any thread may call `rate`. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._base: tuple[float, int] | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._last: tuple[float, int] | None = None

    def add(self, at: float, finished: int, in_flight: int) -> None:
        """Add a sample: how many tasks had ended at a time, and how many were being executed."""
        if self._base is None or (finished == self._base[1] and not in_flight and not self._samples):
            self._base = at, finished  # nothing has begun: the clock does not run
            return
        if finished == (self._last or self._base)[1]:
            return
        self._last = at, finished
        if not self._samples or at - self._samples[-1][0] >= STEP_SECONDS:
            self._samples.append(self._last)
        while self._samples and self._is_enough(self._samples[0], at, finished):
            self._base = self._samples.popleft()

    @staticmethod
    def _is_enough(base: tuple[float, int], at: float, finished: int) -> bool:
        return at - base[0] >= WINDOW_SECONDS and finished - base[1] >= WINDOW_TASKS

    def rate(self, now: float, in_flight: int) -> float | None:
        """Return the tasks per second, None before the first has ended."""
        base, last = self._base, self._last
        if base is None or last is None or last[1] <= base[1]:
            return None
        ended = last[1] - base[1]
        elapsed = max(last[0] - base[0], (now - base[0]) * ended / (ended + in_flight))
        return ended / elapsed if elapsed > 0 else None


Reported = Callable[[int, TaskView], tuple[float, float | None] | None]
"""Return what a task of a slot gave to `state.progress` last, None if nothing."""


def make_progress(
    view: StatusView,
    now: float,
    meter: ProgressMeter,
    reported: Reported = lambda _slot, _task: None,
    *,
    announced: int = 0,
) -> Progress:
    """Return how far a run is at `now` (monotonic seconds).

    announced: how many tasks there will be at least, though not all of them are handed in; 0 if that is not known.
    """
    rate = meter.rate(now, view.running)
    total = max(view.accepted, announced)
    is_total_known = view.is_total_known or announced >= view.accepted > 0
    is_going_on = view.phase in (Phase.RUNNING, Phase.FINISHING)
    left = total - view.finished - view.interrupted
    eta = left / rate if rate and is_total_known and is_going_on else None
    executors = [_executor(executor, now, reported) for executor in view.executors if executor.tasks]
    return Progress(
        done=view.finished,
        total=total,
        is_total_known=is_total_known,
        failed=view.failed,
        retried=view.retried,
        interrupted=view.interrupted,
        in_flight=view.running,
        rate=rate,
        eta=eta,
        executors=tuple(sorted(executors, key=lambda executor: -executor.seconds)),
    )


def _executor(view: ExecutorView, now: float, reported: Reported) -> ExecutorProgress:
    tasks = tuple(_task(view.slot, task, now, reported) for task in view.tasks)
    return ExecutorProgress(view.slot, view.pid, tasks, view.in_flight)


def _task(slot: int, view: TaskView, now: float, reported: Reported) -> TaskProgress:
    done, total = reported(slot, view) or (None, None)
    seconds = None if view.started_at is None else max(0.0, now - view.started_at)
    return TaskProgress(view.key, seconds, done, total)

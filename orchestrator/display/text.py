"""Render progress as text for people: durations, rates, the summary of a run, its tasks, its stop. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from orchestrator.core.ladder import Rung
from orchestrator.core.progress import ExecutorProgress, Progress, TaskProgress
from orchestrator.core.status import StatusView
from runtime.text import single_line

WIDEST: Final = 200
"""Most characters of a text from outside: longer text does not fit on a line."""

_SEPARATOR: Final = " · "
_NEXT: Final = {Rung.FLAG: "SIGTERM", Rung.TERM: "SIGKILL", Rung.KILL: "giving up"}
_PER: Final = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "d"))
_LONGEST_ETA: Final = 100 * 86400.0


def duration(seconds: float) -> str:
    """Return a duration as `h:mm:ss`; one of a day and more as `2 d 3:04:05`."""
    whole = max(0, round(min(seconds, 1e9)))
    days, rest = divmod(whole, 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def age(seconds: float) -> str:
    """Return for how long something has lasted: `6.0 s` in the first minute, else as `duration` does."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def rate(per_second: float) -> str:
    """Return a rate in the unit in which it is at least one: `12/s`, `3.2/min`."""
    for seconds, unit in _PER:
        count = per_second * seconds
        if count >= 1 or unit == "d":
            return f"{count:.0f}/{unit}" if count >= 10 else f"{count:.1f}/{unit}"
    raise AssertionError


def eta(seconds: float | None) -> str:
    """Return an estimate of the time that is left; `?` for one that is not known, or beyond all reason."""
    return "?" if seconds is None or seconds > _LONGEST_ETA else duration(seconds)


def amount(number: float) -> str:
    """Return a number that an agent gave: a whole one in full, another one with four digits."""
    if not math.isfinite(number):
        return "?"
    return f"{number:.0f}" if number == round(number) and abs(number) < 1e15 else f"{number:.4g}"


def task_amount(task: TaskProgress) -> str:
    """Return what a task said of its progress: `4/10`, `4`, or nothing."""
    if task.done is None:
        return ""
    return amount(task.done) if task.total is None else f"{amount(task.done)}/{amount(task.total)}"


def executor(progress: ExecutorProgress) -> str:
    """Return the line of an executor: process, task, its progress, its age, and how many other tasks it has."""
    task = progress.tasks[0]
    name = f"  executor {progress.slot} ({progress.pid}): {single_line(task.key, WIDEST)}"
    return "  ".join([name, *executor_numbers(progress)])


def executor_numbers(progress: ExecutorProgress) -> list[str]:
    """Return what there is to say of an executor beside its longest task's key."""
    task = progress.tasks[0]
    parts = [task_amount(task), "" if task.seconds is None else age(task.seconds)]
    if progress.in_flight > 1:
        parts.append(f"+{progress.in_flight - 1}")
    return [part for part in parts if part]


def counted(progress: Progress) -> str:
    """Return how many tasks are done, of how many: `12/40`, or `12/40+` while more may come."""
    return f"{progress.done}/{progress.total}{'' if progress.is_total_known else '+'}"


def summary(progress: Progress) -> list[str]:
    """Return what there is to say beside the count, what matters most first."""
    parts = [] if progress.rate is None else [rate(progress.rate)]
    if progress.eta is not None:
        parts.append(f"ETA {eta(progress.eta)}")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.in_flight:
        parts.append(f"{progress.in_flight} in flight")
    if progress.retried:
        parts.append(f"{progress.retried} retried")
    if progress.interrupted:
        parts.append(f"{progress.interrupted} interrupted")
    return parts


def fitted(parts: Iterable[str], width: int) -> str:
    """Return as many of the first parts as fit into a line of this width."""
    line = ""
    for part in parts:
        longer = f"{line}{_SEPARATOR}{part}" if line else part
        if len(longer) > width and line:
            break
        line = longer
    return line


def line(title: str, progress: Progress) -> str:
    """Return the whole progress of a run as one line."""
    return f"{single_line(title, WIDEST)}: {_SEPARATOR.join([counted(progress), *summary(progress)])}"


def fields(progress: Progress, *, for_people: bool, long_seconds: float = math.inf) -> Mapping[str, Any]:
    """Return the fields of the log event of a run's progress: numbers, or text `for_people`.

    `longest` is the task that has run longest, if that is at least `long_seconds`.
    """
    shown: dict[str, Any] = {"done": progress.done, "total": progress.total}
    if progress.rate is not None:
        shown["rate"] = rate(progress.rate) if for_people else round(progress.rate, 4)
    if progress.eta is not None:
        shown["eta"] = eta(progress.eta) if for_people else round(progress.eta, 1)
    shown |= {"failed": progress.failed, "retried": progress.retried, "in_flight": progress.in_flight}
    if progress.interrupted:
        shown["interrupted"] = progress.interrupted
    first = progress.executors[0].tasks[0] if progress.executors else None
    if first is not None and first.seconds is not None and first.seconds >= long_seconds:
        words = (single_line(first.key, WIDEST), task_amount(first), duration(first.seconds))
        shown["longest"] = " ".join(word for word in words if word)
    return shown


def stopping(status: StatusView, now: float) -> str:
    """Return the line about a stop: its reason, the executors that still run, and the next rung."""
    hint = " (Ctrl-C: now)" if _next_rung(status, now) else ""
    return f"stopping: {stop_state(status, now)}{hint}"


def stop_state(status: StatusView, now: float) -> str:
    """Return what a stop waits for, and why it takes place."""
    assert status.signal is not None
    reason = single_line(status.signal.message or status.signal.reason.value, WIDEST)
    count = len(status.executors)
    if _is_over(status):
        return f"{reason}; all executors are gone, looking for processes that they left"
    executors = "1 executor" if count == 1 else f"{count} executors"
    return f"{reason}; waiting for {executors}{_next_rung(status, now)}"


def _is_over(status: StatusView) -> bool:
    return status.phase.is_over or not status.executors


def _next_rung(status: StatusView, now: float) -> str:
    if status.next_rung is None or status.rung not in _NEXT or _is_over(status):
        return ""
    return f", {_NEXT[status.rung]} in {max(0.0, status.next_rung - (now - status.at)):.0f} s"


def loading(agent: str, seconds: float) -> str:
    """Return the line about an agent that is being imported."""
    return f"loading {single_line(agent, WIDEST)}, {seconds:.0f} s"

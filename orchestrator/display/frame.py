"""Lay a live display out for a terminal of any size: what matters least is left out first. No state, no effects."""

from __future__ import annotations

from typing import Final

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.core.progress import ExecutorProgress, Progress
from orchestrator.core.status import StatusView
from orchestrator.display import text
from runtime.text import single_line

MOST_EXECUTORS: Final = 8
"""Executors that are shown, at most; on a low terminal fewer."""

_OTHER_LINES: Final = 6  # the bar, the numbers, a stop, the executors that are not shown, and two of the shell's own
_WIDE: Final = 60  # columns from which on the executor's process is shown
_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def spinner(seconds: float) -> str:
    """Return the sign that something goes on."""
    return _SPINNER[int(seconds * 10) % len(_SPINNER)]


def lines(
    title: str, status: StatusView, progress: Progress, now: float, elapsed: float, width: int, height: int
) -> list[RenderableType]:
    """Return the lines of the display for a terminal of this size. Times are monotonic seconds."""
    numbers = [*text.summary(progress), text.duration(elapsed)]
    shown: list[RenderableType] = [
        _head(title, progress, elapsed, width),
        _cut(f"  {text.fitted(numbers, width - 2)}", width, "red" if progress.failed else ""),
    ]
    if status.signal is not None:
        shown.append(_cut(text.stopping(status, now), width, "bold yellow"))
    return shown + _executors(progress, width, max(1, min(MOST_EXECUTORS, height - _OTHER_LINES)))


def _head(title: str, progress: Progress, elapsed: float, width: int) -> RenderableType:
    """Return the line with the bar, which takes the room that title and count leave."""
    head = Table.grid(padding=(0, 1))
    name = Text(single_line(title, text.WIDEST), style="bold")
    name.truncate(max(8, width // 3), overflow="ellipsis")
    count = Text(text.counted(progress), style="green")
    bar = ProgressBar(
        total=progress.total or None,
        completed=progress.done,
        width=max(1, width - name.cell_len - count.cell_len - 5),
        pulse=not progress.total,
        animation_time=elapsed,
    )
    head.add_row(Text(spinner(elapsed), style="green"), name, bar, count)
    return head


def _executors(progress: Progress, width: int, most: int) -> list[RenderableType]:
    """Return a line for each executor by its slot; of those whose task has run longest, if there is no room for all."""
    shown = sorted(progress.executors[:most], key=lambda executor: executor.slot)
    rows: list[RenderableType] = [_executor(executor, width) for executor in shown]
    if len(progress.executors) > most:
        rows.append(_cut(f"  +{len(progress.executors) - most} more", width, "dim"))
    return rows


def _executor(executor: ExecutorProgress, width: int) -> Text:
    """Return the line of an executor: process, task, its progress, its age, and how many other tasks it has."""
    task = executor.tasks[0]
    start = f"  executor {executor.slot} ({executor.pid}): " if width >= _WIDE else f"  {executor.slot}: "
    end = "".join(f"  {part}" for part in text.executor_numbers(executor))
    key = Text(single_line(task.key, text.WIDEST))
    key.truncate(max(1, width - len(start) - len(end)), overflow="ellipsis")
    return _cut(f"{start}{key.plain}{end}", width, "dim")


def _cut(line: str, width: int, style: str) -> Text:
    cut = Text(line, style=style, no_wrap=True, overflow="ellipsis")
    cut.truncate(width, overflow="ellipsis")
    return cut

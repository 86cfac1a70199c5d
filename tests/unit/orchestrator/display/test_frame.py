"""The live display on terminals of all sizes."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console, Group

from orchestrator.core.ladder import Rung
from orchestrator.core.progress import ExecutorProgress, Progress, TaskProgress
from orchestrator.core.status import Phase
from orchestrator.display import frame
from tests.unit.orchestrator.integrations.views import STOP, view


def executor(slot: int, key: str = "page", seconds: float | None = None, in_flight: int = 1) -> ExecutorProgress:
    tasks = (TaskProgress(key, seconds if seconds is not None else 100.0 - slot, 4, 10),)
    return ExecutorProgress(slot, 4000 + slot, tasks, in_flight)


def progress(*executors: ExecutorProgress) -> Progress:
    return Progress(
        done=1234, total=5000, is_total_known=True, failed=17, retried=3, interrupted=0, in_flight=47, rate=12.3,
        eta=4000.0, executors=executors,
    )  # fmt: skip


def shown(executors: list[ExecutorProgress], width: int, height: int, *, is_stopping: bool = False) -> list[str]:
    """The lines as a terminal of this size has them."""
    status = view(phase=Phase.STOPPING, signal=STOP, rung=Rung.FLAG, next_rung=5.0) if is_stopping else view()
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    rows = frame.lines("a-run-of-the-night", status, progress(*executors), 1.0, 75.0, width, height)
    with console.capture() as capture:
        console.print(Group(*rows))
    return capture.get().splitlines()


def test_a_wide_terminal_shows_everything() -> None:
    head, numbers, first, second = shown([executor(1, "slow"), executor(0, "async", in_flight=48)], 120, 40)
    assert "a-run-of-the-night" in head
    assert head.endswith("1234/5000")
    assert numbers.strip() == "12/s · ETA 1:06:40 · 17 failed · 47 in flight · 3 retried · 0:01:15"
    assert first == "  executor 0 (4000): async  4/10  0:01:40  +47"
    assert second == "  executor 1 (4001): slow  4/10  0:01:39"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("height", [5, 12, 24])
@pytest.mark.parametrize("is_stopping", [False, True])
@pytest.mark.parametrize("key", ["key", "k" * 300, "鍵" * 100, "\x1b[2J\n" * 20])
def test_it_fits_every_terminal(width: int, height: int, key: str, *, is_stopping: bool) -> None:
    rows = shown([executor(slot, key) for slot in range(30)], width, height, is_stopping=is_stopping)
    assert max(map(cell_len, rows)) <= width
    assert len(rows) < max(height, 6)
    assert not any("\x1b" in row for row in rows)


def test_of_many_executors_those_are_shown_whose_tasks_have_run_longest() -> None:
    rows = shown([executor(slot) for slot in range(30)], 80, 24)
    assert [row.split()[1] for row in rows[2:-1]] == [str(slot) for slot in range(8)]
    assert rows[-1] == "  +22 more"


def test_age_and_progress_of_a_task_are_shown_whatever_its_key_is() -> None:
    assert shown([executor(3, "k" * 100, 12.34)], 40, 24)[-1].endswith("…  4/10  12.3 s")


def test_a_task_that_has_just_begun_has_no_age() -> None:
    rows = frame.lines(
        "r", view(), progress(ExecutorProgress(0, 1, (TaskProgress("new"),), 1)), 1.0, 1.0, 80, 24
    )  # fmt: skip
    assert str(rows[-1]) == "  executor 0 (1): new"

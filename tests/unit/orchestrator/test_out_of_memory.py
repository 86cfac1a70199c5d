"""An executor that the kernel kills for want of memory, on a FakeBackend: what is recorded, and that it runs again."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orchestrator import Supervisor
from orchestrator.failures import cause_of
from orchestrator.testing import FakeBackend
from tests.support.recorded_log import PATIENCE, RecordedLog

BEGAN = threading.Semaphore(0)


def grow(times: int, state: Any) -> str:
    """Wait to be killed so many times."""
    count = state.snapshot or 0
    state.save_snapshot(count + 1)
    if count < times:
        BEGAN.release()
        state.sleep(3600)
    return "small"


def kill(backend: FakeBackend) -> None:
    """Kill the executor as the kernel does, once its task has begun."""
    assert BEGAN.acquire(timeout=PATIENCE)
    backend.oom_kill_count += 1
    backend.executor(0).kill()


@pytest.mark.parametrize(("times", "is_over"), [(1, False), (2, True)])
def test_a_task_that_was_killed_is_tried_again_once(times: int, *, is_over: bool) -> None:
    backend, log = FakeBackend(), RecordedLog()
    with Supervisor(workers=1, backend=backend, log=log, handle_signals=False) as supervisor:
        handle = supervisor.submit(grow, times)
        for _ in range(times):
            kill(backend)
        outcome = handle.outcome(PATIENCE)
    assert outcome.ok is not is_over
    if is_over:
        assert outcome.error == (
            "out of memory (the kernel killed the executor, which had used 0 B; 1.0 GiB is the limit of all)"
        )
        assert cause_of(outcome).text() == "out of memory"
    assert outcome.attempts == 1

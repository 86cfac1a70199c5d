"""The last look holds the loop: what it waits for ends when the stop must. (Process: chaos/test_held_guardian.py.)"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence

import psutil
import pytest

from orchestrator.backends.local import LocalBackend
from orchestrator.config import Settings
from runtime.process import environments, tree
from runtime.stop_limits import LEAST_ENVIRONMENTS_TIMEOUT


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    backend = LocalBackend("run", Settings(workers=1))
    yield backend
    backend.close()


@pytest.mark.parametrize(("left", "most"), [(-5.0, LEAST_ENVIRONMENTS_TIMEOUT), (2.0, 2.0)])
def test_environments_are_read_no_longer_than_the_stop_may_take(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, left: float, most: float
) -> None:
    """A reader that gets no processor would take its own patience, in each of several looks."""
    asked: list[float] = []

    def read(_pids: Sequence[int], _names: Sequence[str], *, seconds: float) -> dict[int, Mapping[str, str]]:
        asked.append(seconds)
        return {}

    monkeypatch.setattr(environments, "read", read)
    assert backend.discard_guardian(left) == ([], [])
    assert asked
    assert max(asked) <= most


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_what_the_guardian_had_no_time_to_end_is_killed(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, sleeper: subprocess.Popen[bytes]
) -> None:
    """It may only be stopped. It is not waited for: what the guardian did kill may not die."""
    process = psutil.Process(sleeper.pid)
    process.suspend()
    monkeypatch.setattr(backend._leftovers, "find", lambda *_: [process])
    assert backend.kill_by_run_token([tree.describe(process)]) == ([], [])
    assert sleeper.wait(10) == -signal.SIGKILL

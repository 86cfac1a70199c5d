"""The FakeBackend keeps the promises of a Backend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.backends import Backend
from orchestrator.testing import FakeBackend
from runtime import ExecutionState, agent
from tests.support.backend_conformance import BackendConformance
from tests.support.fake_run import FakeRun


class TestFakeBackend(BackendConformance):
    @pytest.fixture
    def backend(self) -> FakeBackend:
        return FakeBackend()

    def kill_guardian(self, backend: Backend) -> None:
        assert isinstance(backend, FakeBackend)
        backend.kill_guardian()


def test_only_a_manual_clock_can_be_advanced() -> None:
    with pytest.raises(TypeError, match="ManualClock"):
        FakeBackend().advance(1)


def test_an_agent_that_ignores_its_interrupt_is_named_at_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test must not leave a thread behind in silence."""
    backend = FakeBackend()
    backend.open()
    channels = backend.start(3, 1)
    monkeypatch.setattr(backend.executor(3), "join", lambda _: False)
    with pytest.raises(RuntimeError, match=r"agents of slots \[3\]"):
        backend.close()
    monkeypatch.undo()
    assert backend.executor(3).join(20)
    for fd in (channels.tasks, channels.control, channels.events, channels.stdout, channels.stderr):
        os.close(fd)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_fake_executors_have_lifespans(asynchronous: bool) -> None:
    lines: list[str] = []

    @contextmanager
    def model() -> Iterator[str]:
        lines.append("enter")
        yield "model"
        lines.append("leave")

    def work(task_input: str, state: ExecutionState) -> list[Any]:
        return [state.key, state.resource]

    async def awork(task_input: str, state: ExecutionState) -> list[Any]:
        return work(task_input, state)

    chosen: Any = awork if asynchronous else work
    with FakeRun({"work": agent(lifespan=model)(chosen)}, workers=1) as run:
        run.add("work", "a", "b")
        run.finish()
    assert lines == ["enter", "leave"]
    assert [outcome.encoded for outcome in run.outcomes.values() if outcome] == [b'["a","model"]', b'["b","model"]']

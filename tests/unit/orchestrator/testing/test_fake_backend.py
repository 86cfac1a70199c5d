"""The FakeBackend keeps the promises of a Backend."""

from __future__ import annotations

import os

import pytest

from orchestrator.backends import Backend
from orchestrator.testing import FakeBackend
from tests.support.backend_conformance import BackendConformance


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

"""The last look: that no process is seen does not mean that there is none."""

from __future__ import annotations

import selectors
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.guardian import strays
from runtime.guardian.stdio import StdioKeeper
from runtime.guardian.strays import UNSEEN, StrayReaper
from runtime.ipc.guardian_protocol import SweepReport
from runtime.process import tree
from runtime.process.cgroup import RunCgroup
from runtime.process.descendants import Descendants
from runtime.stop_limits import CROWD_KILL_TIMEOUT, STRAY_SEARCH_TIMEOUT


class ChainLeaf(RunCgroup):
    """A cgroup with a chain of processes that fork and exit: no look catches one. Killed as a whole, it ends."""

    def __init__(self, *, can_end: bool) -> None:
        super().__init__("/nowhere")
        self.is_running = True
        self._can_end = can_end

    def pids(self) -> list[int]:
        return []

    def leave(self) -> None:
        pass

    def kill(self) -> None:
        self.is_running = not self._can_end


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(strays, "STRAY_GRACE", 0.02)
    monkeypatch.setattr(tree, "children", lambda *_: [])
    monkeypatch.setattr(tree, "child_pids", lambda *_: [])

    def make(*, can_end: bool) -> ChainLeaf:
        if not can_end:
            monkeypatch.setattr(strays, "SWEEP_END_TIMEOUT", 0.05)
        leaf = ChainLeaf(can_end=can_end)
        monkeypatch.setattr(tree, "has_children", lambda: leaf.is_running)
        return leaf

    return make


def sweep(leaf: RunCgroup) -> SweepReport:
    with selectors.DefaultSelector() as selector:
        return StrayReaper(leaf, StdioKeeper(selector), keep=False).sweep([], time.sleep)


def test_a_chain_that_no_look_catches_is_ended(chain: Any) -> None:
    leaf = chain(can_end=True)
    swept = sweep(leaf)
    assert not leaf.is_running
    assert (swept.found, swept.ended, swept.remaining) == (0, 0, [])


def test_a_chain_that_does_not_end_remains(chain: Any) -> None:
    swept = sweep(chain(can_end=False))
    assert (swept.found, swept.ended, swept.remaining) == (0, 0, [UNSEEN])


def test_it_gives_up_when_the_stop_must_end(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would go on for longer than a test may take."""
    monkeypatch.setattr(strays, "SWEEP_END_TIMEOUT", 1e6)
    leaf = chain(can_end=False)
    with selectors.DefaultSelector() as selector:
        looker = StrayReaper(leaf, StdioKeeper(selector), keep=False)
        swept = looker.sweep([], time.sleep, until=time.monotonic() + 0.05)
    assert swept.remaining == [UNSEEN]


class Crowd:
    """Processes that no look finds all of, without a cgroup, and a clock that is the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(strays, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(tree, "has_children", lambda: True)
        monkeypatch.setattr(tree, "children", lambda *_: [])
        monkeypatch.setattr(tree, "child_pids", lambda *_: [])

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def sweep(self, until: float) -> None:
        with selectors.DefaultSelector() as selector:
            StrayReaper(None, StdioKeeper(selector), keep=False).sweep([], self.pass_time, until=until)


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    return Crowd(monkeypatch)


def test_those_that_multiply_are_killed_when_the_stop_must_end(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """No look finds all of them, and there is no cgroup."""
    killed = []

    def stop(_: Descendants, until: float) -> bool:
        crowd.pass_time(until - crowd.now)
        return False

    monkeypatch.setattr(Descendants, "stop", stop)
    monkeypatch.setattr(Descendants, "kill", lambda _: killed.append(crowd.now))
    until = crowd.now + 0.7
    crowd.sweep(until)
    assert killed
    assert killed[0] < until + STRAY_SEARCH_TIMEOUT  # a look that has begun is ended


def test_what_was_stopped_is_killed_also_when_the_last_search_took_too_long(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would stay, stopped, after the end of the guardian."""
    stopped, killed = [], []

    def stop(descendants: Descendants, _: float) -> bool:
        descendants._parents[7] = 1
        stopped.append(7)
        crowd.pass_time(CROWD_KILL_TIMEOUT)  # on a host without processor time
        return False

    def signal_one(_: Descendants, pid: int, _parent: int, signum: int) -> bool:
        if signum == signal.SIGKILL:
            killed.append(pid)
        return True

    monkeypatch.setattr(Descendants, "stop", stop)
    monkeypatch.setattr(Descendants, "_signal", signal_one)
    crowd.sweep(crowd.now + 2)
    assert set(killed) == set(stopped) == {7}


def test_while_more_and_more_end_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands that were killed end one after the other: those are not what cannot be killed."""
    left = [SimpleNamespace(pid=pid) for pid in range(2, 12)]
    monkeypatch.setattr(tree, "children", lambda *_: list(left))
    monkeypatch.setattr(tree, "has_children", lambda: bool(left))
    monkeypatch.setattr(tree, "describe", lambda process: str(process.pid))
    monkeypatch.setattr(tree, "send_signal", lambda *_, **__: 0)

    def wait(_: float) -> None:
        left.pop()

    with selectors.DefaultSelector() as selector:
        looker = StrayReaper(None, StdioKeeper(selector), keep=False)
        swept = looker.sweep([], wait, until=time.monotonic())
    assert swept.remaining == []
    assert left == []

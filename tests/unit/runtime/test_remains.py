"""The last look: that nobody is seen is not that nobody is there."""

from __future__ import annotations

import selectors
import time
from typing import Any

import pytest

from runtime import remains, tree
from runtime.cgroup import Leaf
from runtime.output import OutputEnds
from runtime.protocol import Swept
from runtime.remains import UNSEEN, Remains


class ChainLeaf(Leaf):
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
    monkeypatch.setattr(remains, "STRAY_GRACE", 0.02)
    monkeypatch.setattr(tree, "children", lambda *_: [])

    def make(*, can_end: bool) -> ChainLeaf:
        if not can_end:
            monkeypatch.setattr(remains, "KILL_PATIENCE", 0.05)
        leaf = ChainLeaf(can_end=can_end)
        monkeypatch.setattr(tree, "has_children", lambda: leaf.is_running)
        return leaf

    return make


def sweep(leaf: Leaf) -> Swept:
    with selectors.DefaultSelector() as selector:
        return Remains(leaf, OutputEnds(selector), keep=False).sweep([], time.sleep)


def test_a_chain_that_no_look_catches_is_ended(chain: Any) -> None:
    leaf = chain(can_end=True)
    swept = sweep(leaf)
    assert not leaf.is_running
    assert (swept.found, swept.ended, swept.remaining) == (0, 0, [])


def test_a_chain_that_does_not_end_remains(chain: Any) -> None:
    swept = sweep(chain(can_end=False))
    assert (swept.found, swept.ended, swept.remaining) == (0, 0, [UNSEEN])

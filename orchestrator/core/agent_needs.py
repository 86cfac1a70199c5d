"""Count who needs the pickle of an agent, so that the supervisor can let go of it. Pure.

A program that submits `partial(f, large)` again and again makes an agent of each, and their pickles would fill the
supervisor. One is needed by its tasks until each has its outcome, because another executor may have to load it; and by
a caller that has handed it in and has tasks of it on the way. Small agents are kept: to count them would cost more.
Those of a run that is resumed are kept too: the tasks of an earlier start are in the journal, and were not
counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from orchestrator.core.records import NewTask
from runtime.ipc.executor_protocol import LoadAgent

KEPT_BYTES: Final = 64 << 10
"""The pickle of an agent up to this size is kept for the whole run."""


def may_be_dropped(*, by_name: bool, source: bytes) -> bool:
    """Return whether an agent is worth counting."""
    return not by_name and len(source) > KEPT_BYTES


class AgentNeeds:
    """Count the needs of each agent of a run, those included whose pickle is gone (`source` is empty then)."""

    def __init__(self, agents: dict[int, LoadAgent]) -> None:
        self._agents = agents
        self._counts: dict[int, int] = {}
        self._keeps_all = False

    def keep_all(self) -> None:
        """Drop nothing from now on: there are tasks that were not counted."""
        self._keeps_all = True

    def add_caller(self, order: LoadAgent) -> None:
        """Count a caller that has handed an agent in. It says when no more tasks of it are on the way (`remove`)."""
        if may_be_dropped(by_name=order.by_name, source=order.source):
            self._counts[order.agent] = self._counts.get(order.agent, 0) + 1

    def add_tasks(self, tasks: Iterable[NewTask]) -> None:
        """Count new tasks."""
        if not self._counts:
            return
        for task in tasks:
            if task.agent in self._counts:
                self._counts[task.agent] += 1

    def remove(self, agent: int) -> None:
        """Uncount a caller, or a task that has its outcome. The last one takes the pickle with it."""
        count = self._counts.get(agent)
        if count is None:
            return
        self._counts[agent] = count - 1
        if count == 1 and not self._keeps_all:
            del self._counts[agent]
            self._agents[agent] = LoadAgent(agent, by_name=False, source=b"")

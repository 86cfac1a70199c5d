"""Measure how much memory an executor's tree holds, in a thread, once its RSS is above the limit."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from orchestrator.core import stimuli
from runtime.ipc import guardian_protocol
from runtime.process import usage

REST = 20
"""How many times as long as the last look at one executor took passes at least before the next."""


class MemoryMeasurer:
    """Measure the trees of executors. Belongs to the loop; `post` takes a stimulus from any thread.

    To read a process's PSS can take long: the kernel walks its page tables, and while the process changes its mappings
    (or hangs in that, on a dead file system) the reader waits. Each executor has a thread of its own for it, as long as
    a look takes, so that no other's limit, and nothing else, waits for that.
    """

    def __init__(
        self,
        limit: int | None,
        post: Callable[[stimuli.Stimulus], None],
        measure: Callable[[int, int], int] = lambda pid, above: usage.memory_of_tree(pid, above=above),
    ) -> None:
        self._limit = limit
        self._post = post
        self._measure = measure
        self._not_before: dict[tuple[int, int], float] = {}

    def measure(self, report: guardian_protocol.MemoryReport) -> None:
        """Measure an executor whose RSS is above the limit. Post MemoryExceeded if what it holds is, too."""
        executor = (report.slot, report.incarnation)
        if self._limit is None or time.monotonic() < self._not_before.get(executor, 0.0):
            return
        for other in [key for key in self._not_before if key[0] == report.slot and key != executor]:
            del self._not_before[other]
        self._not_before[executor] = math.inf
        thread = threading.Thread(target=self._look, args=(report, self._limit), name="quiesce-memory", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread left: the next report may find one
            self._not_before[executor] = 0.0

    def _look(self, report: guardian_protocol.MemoryReport, limit: int) -> None:
        began = time.monotonic()
        try:
            size = self._measure(report.pid, limit)
            if size > limit:
                self._post(stimuli.MemoryExceeded(report.slot, report.incarnation, size, began))
        finally:
            ended = time.monotonic()
            executor = (report.slot, report.incarnation)
            if executor in self._not_before:  # else the slot has another by now
                self._not_before[executor] = ended + REST * (ended - began)

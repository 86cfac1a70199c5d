"""Read the outcomes of a run that goes on, each once, soon after it was committed.

*Theory.* Outcomes come in another order than the tasks. The follower knows up to which task all have ended, asks for
the numbers of the tasks behind it that have ended, and reads those outcomes that it has not read. One slow task keeps
the numbers behind it in the answer, so the follower rests for several times as long as the last look took.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Final

from orchestrator.cli.journal_query import follow
from orchestrator.core.records import TERMINAL, TaskOutcome
from orchestrator.journal import Journal
from runtime.statuses import ExecutionStatus

AT_ONCE: Final = 1000
"""Outcomes that are read at once."""

REST: Final = 4
"""How many times as long as a look took there is no other one."""


class ResultFollower:
    """Follow the outcomes of a run. An interrupted one comes at the end of the run, because its task may run again."""

    def __init__(
        self,
        journal: Journal,
        run: int,
        statuses: Collection[ExecutionStatus] | None,
        seqs: Collection[int] | None,
    ) -> None:
        self._journal = journal
        self._run = run
        self._statuses = frozenset(ExecutionStatus if statuses is None else statuses)
        self._seqs = None if seqs is None else frozenset(seqs)
        self._read: set[int] = set()
        self._all_read = 0  # up to this task all outcomes are final, and were read
        self._next_look = 0.0

    def outcomes(self) -> Iterator[TaskOutcome]:
        """Yield final outcomes as they come, until the run has ended or its supervisor is gone; then the others."""
        yield from follow(self._journal, self._run, self._new)
        yield from self._new()
        if self._statuses - TERMINAL:
            seqs = None if self._seqs is None else sorted(self._seqs)
            yield from self._journal.results(self._run, self._statuses - TERMINAL, seqs)

    def _new(self) -> Iterator[TaskOutcome]:
        began = time.monotonic()
        time.sleep(max(0.0, self._next_look - began))
        ended = self._journal.ended_tasks(self._run, self._all_read)
        new = [seq for seq in ended if seq not in self._read and (self._seqs is None or seq in self._seqs)]
        wanted = self._statuses & TERMINAL
        for at in range(0, len(new), AT_ONCE):
            yield from self._journal.results(self._run, wanted, new[at : at + AT_ONCE])
        self._read.update(new)
        self._forget(ended)
        now = time.monotonic()
        self._next_look = now + REST * (now - began)

    def _forget(self, ended: Collection[int]) -> None:
        """Find the first task that has not ended, and forget the numbers before it."""
        pending = self._journal.pending(self._run, self._all_read, 1)
        last = max(ended, default=self._all_read)
        self._all_read = min(last, pending[0].seq - 1) if pending else last
        self._read = {seq for seq in self._read if seq > self._all_read}

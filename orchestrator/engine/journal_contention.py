"""Report to the engine that another process has the journal locked, and end the wait for it at a deadline."""

from __future__ import annotations

import math
import time

from orchestrator.core import stimuli
from orchestrator.engine.task_store import Post
from orchestrator.journal import Contention
from orchestrator.journal.contention import REPORT_AFTER

CONTENTION_LIMIT = 300.0
"""Seconds that a run waits for another process that has the journal locked, before it stops. Outcomes are kept."""


class JournalContention:
    """Follow the contention for a journal. `handle` belongs to its thread; any thread may set the deadline."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._until = math.inf
        self._is_starved = False
        self.is_contended = False
        """Whether the journal's thread waits for another process right now."""

    def set_deadline(self, at: float) -> None:
        """Wait until `at` (monotonic seconds) at most; `handle` looks at it between two tries."""
        self._until = min(self._until, at)

    def handle(self, contention: Contention) -> None:
        """Wait while another process has the journal locked; raise after the deadline. What waits here is kept."""
        if contention.over:
            if self.is_contended:
                self.is_contended = self._is_starved = False
                self._post(stimuli.JournalAvailable(contention.seconds))
        elif time.monotonic() >= self._until:
            raise contention.error()
        elif contention.seconds >= REPORT_AFTER and not self.is_contended:
            self.is_contended = True
            self._post(stimuli.JournalContended(contention.find_holders(), contention.seconds))
        elif contention.seconds >= CONTENTION_LIMIT and not self._is_starved:
            self._is_starved = True
            self._post(stimuli.JournalStarved(str(contention.error()), contention.seconds))

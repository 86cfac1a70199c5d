"""Wait for the next commit of a living run, for a command that follows it."""

from __future__ import annotations

import time

from orchestrator.control.client import ControlClient, connect
from orchestrator.control.protocol import Events, Gap
from orchestrator.journal import Journal
from runtime.errors import QuiesceError


class CommitWatch:
    """Wait for commits by the run's control socket as long as there is one, else by the clock."""

    def __init__(self, journal: Journal, number: int) -> None:
        run = next((run for run in journal.runs() if run.id == number), None)
        self._client: ControlClient | None = None
        if run is not None and run.owner is not None and run.owner.alive:
            self._client = connect(journal.location, run.run_id)
        if self._client is not None:
            try:
                self._client.subscribe()
            except QuiesceError:  # the supervisor was killed just now
                self._leave()

    def wait(self, seconds: float) -> None:
        """Return after the next commit, or after so many seconds."""
        if self._client is None:
            time.sleep(seconds)
            return
        try:
            if not isinstance(self._client.next(seconds), Events | Gap | None):
                self._leave()
        except QuiesceError:
            self._leave()

    def _leave(self) -> None:
        assert self._client is not None
        self._client.close()
        self._client = None

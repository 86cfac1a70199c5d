"""A log that tests wait on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from runtime.model import Severity

PATIENCE = 60.0
"""Seconds until a wait fails: far beyond what any of them takes."""


class RecordedLog:
    """Keep every log event with its time, and let a test wait for one. Thread-safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.events: list[tuple[float, str, Mapping[str, Any]]] = []
        self._now = now
        self._changed = threading.Condition()

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        with self._changed:
            self.events.append((self._now(), name, fields))
            self._changed.notify_all()

    def named(self, name: str) -> list[Mapping[str, Any]]:
        """Return the fields of the events of one name."""
        return [fields for _, event, fields in tuple(self.events) if event == name]

    def times(self, name: str) -> list[float]:
        """Return the times of the events of one name."""
        return [at for at, event, _ in tuple(self.events) if event == name]

    def wait_for(self, name: str, count: int = 1) -> Mapping[str, Any]:
        """Wait until an event of this name has come so often. Return the fields of the last one."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.named(name)) >= count, PATIENCE), (name, self.events)
        return self.named(name)[-1]

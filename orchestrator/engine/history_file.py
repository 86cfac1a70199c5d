"""Write the state machine's last stimuli into a private file, in a thread: the disk may hang."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from orchestrator.core import history_text
from orchestrator.core.history import History
from orchestrator.core.settings import RunSettings
from orchestrator.logging.sinks import LogCallback
from runtime.statuses import Severity


class HistoryFile:
    """The file of one supervisor: a new one replaces it. `write` belongs to the loop."""

    def __init__(self, settings: RunSettings, history: History) -> None:
        self._settings = settings
        self._history = history
        self._path: Path | None = None
        self._thread: threading.Thread | None = None

    def write(self, log: LogCallback) -> None:
        """Write the history, unless that is going on. `log` is called in the thread, if there is one."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(
            target=self._write, args=(self._history.copy(), log), name="quiesce-history", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            _log_failure(log, error)

    def _write(self, history: History, log: LogCallback) -> None:
        try:
            path = _write_file(history_text.dump(self._settings, history))
        except Exception as error:  # noqa: BLE001 - a defect of a dump must not hide the one that it is to explain
            _log_failure(log, error)
            return
        previous, self._path = self._path, path
        if previous is not None:
            with suppress(OSError):
                previous.unlink()
        log("history.written", Severity.INFO, {"path": str(path), "stimuli": len(history), "dropped": history.dropped})


def _log_failure(log: LogCallback, error: Exception) -> None:
    log("history.failed", Severity.ERROR, {"error": f"the last stimuli cannot be written: {error}"})


def _write_file(text: str) -> Path:
    """Write a file that only this user can read (mode 0600). Remove it if that fails: the disk may be full."""
    fd, name = tempfile.mkstemp(prefix=f"quiesce-history-{os.getpid()}-", suffix=".jsonl")
    path = Path(name)
    try:
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    return path

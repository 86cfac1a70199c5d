"""Write all output of each task into a file of its own, on a thread: a disk that hangs holds up nothing else."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from orchestrator.background import Background
from orchestrator.core.output import AgentOutput
from orchestrator.logging.output_sinks import Note
from runtime.errors import UsageError
from runtime.statuses import Severity
from runtime.stop_limits import OUTPUT_TIMEOUT

LONGEST_NAME: Final = 150
"""Characters of a file's name; file systems take 255 bytes."""

_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._-]|^\.|^-")


class OutputFiles:
    """Append to a file for each task. What cannot be written is reported once, and changes nothing else."""

    def __init__(self, directory: str) -> None:
        """Make the directory. Raises UsageError."""
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--output {directory}: the directory cannot be made: {error.strerror or error}") from None
        self._directory = directory
        self.note: Note = lambda *_: None
        """Logs an event, from any thread."""
        self._background: Background[tuple[str, bytes]] = Background("quiesce-output-files", self._write_all)
        self._lost = 0
        self._has_failed = False

    def __call__(self, output: AgentOutput) -> None:
        """Queue one line or record; count it when the queue is full, as when a disk hangs."""
        data = file_line(output)
        if self._background.put((file_name(output), data), len(data)):
            return
        self._lost += 1

    def is_congested(self) -> bool:
        """Return whether output comes faster than it is written."""
        return self._background.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """Wait until all is written, as DescriptorSink.flush does. Report what was lost."""
        is_written = self._background.flush(OUTPUT_TIMEOUT, limit)
        if self._lost:
            lost, self._lost = self._lost, 0
            self._fail({"lines": lost, "error": "output came faster than it could be written"})
        return is_written

    def _fail(self, fields: Mapping[str, object]) -> None:
        if not self._has_failed:
            self._has_failed = True
            self.note("agent.output_failed", Severity.WARNING, {"target": self._directory, **fields})

    def _write_all(self, pieces: list[tuple[str, bytes]]) -> None:
        by_name: dict[str, list[bytes]] = {}
        for name, data in pieces:
            by_name.setdefault(name, []).append(data)
        for name, lines in by_name.items():
            try:
                with open(os.path.join(self._directory, name), "ab") as file:
                    file.write(b"".join(lines))
            except OSError as error:
                self._fail({"file": name, "error": error.strerror or str(error)})
            self._background.note_progress()


def file_line(output: AgentOutput) -> bytes:
    """Return the line of a file: text as it is; a record after its time, level and logger."""
    head = ""
    if output.logger:
        at = datetime.fromtimestamp(output.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        head = f"{at} {output.severity.value.upper()} {output.logger}: "
    return f"{head}{output.text}\n".encode("utf-8", "backslashreplace")


def file_name(output: AgentOutput) -> str:
    """Return the name of a task's file, which is safe and different for each key."""
    if output.key is None:
        return f"%task-{output.task}.log" if output.task else f"%executor-{output.slot}.log"
    raw = output.key.encode("utf-8", "surrogatepass")
    name = _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], raw).decode("ascii")
    if len(name) > LONGEST_NAME or not name:
        name = f"{name[:LONGEST_NAME]}%-{hashlib.sha256(raw).hexdigest()[:16]}"
    return f"{name}.log"

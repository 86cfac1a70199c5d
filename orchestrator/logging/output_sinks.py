"""Where agents' output goes: to the log, to a program's own function, or to `logging`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from orchestrator.background import Background
from orchestrator.core.output import AgentOutput
from orchestrator.logging.output_text import output_text
from orchestrator.logging.sinks import Buffer, LogCallback, buffer_of
from runtime.statuses import Severity
from runtime.stop_limits import OUTPUT_TIMEOUT

Note = Callable[[str, Severity, Mapping[str, Any]], None]
"""Log one event, from any thread."""

_LEVELS: Final = {severity: logging.getLevelName(severity.name) for severity in Severity}


class OutputSink(Buffer, Protocol):
    """Takes output in the supervisor's loop."""

    def __call__(self, output: AgentOutput) -> None:
        """Take one line or record. Never waits."""
        ...


class LogOutput:
    """Write output as events `executor.output` of a log."""

    def __init__(self, log: LogCallback) -> None:
        self._log = log
        self._buffer = buffer_of(log)

    def __call__(self, output: AgentOutput) -> None:
        """Log one line. Raises what the log raises."""
        self._log("executor.output", output.severity, output_fields(output))

    def is_congested(self) -> bool:
        """Return whether the log is."""
        return self._buffer is not None and self._buffer.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """Flush the log."""
        return self._buffer is None or self._buffer.flush(limit)


def output_fields(output: AgentOutput) -> dict[str, Any]:
    """Return the fields of an event `executor.output`."""
    fields: dict[str, Any] = {"slot": output.slot, "stream": output.stream, "line": output.text}
    if output.key is not None:
        fields["key"] = output.key
    elif output.task:
        fields["task"] = output.task
    if output.logger:
        fields["logger"] = output.logger
    return fields


class CallbackOutput:
    """Call a program's function with output, on a thread of its own. What it raises is reported once."""

    def __init__(self, callback: Callable[[AgentOutput], None], note: Note) -> None:
        self._callback = callback
        self._note = note
        self._background: Background[AgentOutput] = Background("quiesce-agent-output", self._call_all)
        self._lost = 0
        self._has_failed = False

    def __call__(self, output: AgentOutput) -> None:
        """Queue one line or record; count it when the queue is full."""
        if not self._background.put(output, 256 + len(output.text)):
            self._lost += 1

    def is_congested(self) -> bool:
        """Return whether output comes faster than it is taken."""
        return self._background.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """Wait until all is taken, as DescriptorSink.flush does."""
        return self._background.flush(OUTPUT_TIMEOUT, limit)

    def _call_all(self, outputs: list[AgentOutput]) -> None:
        for output in outputs:
            try:
                self._callback(output)
            except Exception as error:  # noqa: BLE001 - a program's function ends neither the thread nor the run
                if not self._has_failed:
                    self._has_failed = True
                    self._note("agent.output_failed", Severity.WARNING, {"target": "on_output", "error": repr(error)})
            self._background.note_progress()


def send_to_logging(output: AgentOutput) -> None:
    """Log output by the logger `quiesce.agent`: `KEY | text`, with the attributes `key`, `stream`, `agent_logger`."""
    logger = logging.getLogger("quiesce.agent")
    level = _LEVELS[output.severity]
    if logger.isEnabledFor(level):
        fields = output_fields(output) | {"logger": ""}
        extra = {"key": output.key, "stream": output.stream, "agent_logger": output.logger}
        logger.log(level, "%s", output_text(fields, output.severity.value), extra=extra)

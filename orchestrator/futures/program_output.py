"""Where what calls print goes, and what the supervisor has to say: as a pool of the standard library would have it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from orchestrator.core.output import AgentOutput
from orchestrator.logging.output_sinks import send_to_logging
from runtime.statuses import Severity

_LEVELS: Final = {Severity.CRITICAL: logging.CRITICAL, Severity.ERROR: logging.ERROR, Severity.WARNING: logging.INFO}
"""An executor says by its futures what has become of calls: a warning of the supervisor's is information here."""

_logger = logging.getLogger("quiesce.futures")


def forward_output(output: AgentOutput) -> None:
    """Write a line that a call printed to the program's own stream; hand a record that it logged to `logging`."""
    if output.logger or output.stream == "log":
        send_to_logging(output)
        return
    stream = sys.stdout if output.stream == "stdout" else sys.stderr
    with suppress(OSError, ValueError, AttributeError):  # closed, or a program without a terminal
        stream.write(f"{output.text}\n")
        stream.flush()


def log_to_logging(event: str, severity: Severity, fields: Mapping[str, Any]) -> None:
    """Log an event of the supervisor by the logger `quiesce.futures`."""
    level = _LEVELS.get(severity, logging.DEBUG)
    if _logger.isEnabledFor(level):
        _logger.log(level, "%s %s", event, " ".join(f"{name}={value!r}" for name, value in fields.items()))

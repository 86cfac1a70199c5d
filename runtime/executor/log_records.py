"""Send what an agent logs as records, with level and logger, where it would be written to standard output or error.

A program decides with `logging` what it shows, and in which form. Here it goes on to decide what: levels, filters and
handlers stay as they are, `basicConfig` works, and a handler that writes to a file, or elsewhere, does so. Only a
`StreamHandler` whose stream is the executor's own sends its records up instead of text. structlog's loggers that print
do the same with the level of the method that was called.

Rejected: a handler at the root logger, because `basicConfig` then does nothing; `captureWarnings`, because that needs
such a handler.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

from runtime.executor.task_output import record_level, stream_of
from runtime.statuses import Severity

_PLAIN: Final = logging.Formatter()
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message"}
_WORD: Final = re.compile(r"\w+")
_METHODS: Final[Mapping[str, Severity]] = {
    "debug": Severity.DEBUG,
    "warn": Severity.WARNING,
    "warning": Severity.WARNING,
    "err": Severity.ERROR,
    "error": Severity.ERROR,
    "exception": Severity.ERROR,
    "fatal": Severity.CRITICAL,
    "failure": Severity.ERROR,
    "critical": Severity.CRITICAL,
}


def capture_records() -> None:
    """Have handlers of `logging` and warnings send records. For an executor, once, before any agent is loaded."""
    plain_emit = logging.StreamHandler.emit
    plain_show = warnings.showwarning

    def emit(handler: logging.StreamHandler[Any], record: logging.LogRecord) -> None:
        stream = stream_of(handler.stream)
        if stream is None:
            plain_emit(handler, record)
            return
        try:
            if not stream.send_record(severity_of(record.levelno), record.name, _text(handler, record)):
                plain_emit(handler, record)
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as logging does: a message that cannot be formatted ends no program
            handler.handleError(record)

    def show_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        stream = stream_of(sys.stderr) if file is None else None
        text = warnings.formatwarning(message, category, filename, lineno, line).rstrip("\n")
        if stream is None or not stream.send_record(Severity.WARNING, "py.warnings", text):
            plain_show(message, category, filename, lineno, file, line)

    logging.StreamHandler.emit = emit  # type: ignore[method-assign,assignment]
    warnings.showwarning = show_warning


def capture_structlog() -> None:
    """Note the level of what structlog's loggers print, if an agent has imported it. Cheap to call again."""
    base = sys.modules.get("structlog._base")
    kind = getattr(base, "BoundLoggerBase", None)
    plain = getattr(kind, "_proxy_to_logger", None)
    if plain is None or hasattr(plain, "quiesce_captured"):
        return
    kind._proxy_to_logger = _with_level(plain)  # type: ignore[union-attr]  # noqa: SLF001 - documented for subclasses


def _with_level(plain: Callable[..., Any]) -> Callable[..., Any]:
    def proxy(logger: Any, method_name: str, *args: Any, **event: Any) -> Any:
        token = record_level.set(_METHODS.get(method_name, Severity.INFO))
        try:
            return plain(logger, method_name, *args, **event)
        finally:
            record_level.reset(token)

    proxy.quiesce_captured = True  # type: ignore[attr-defined]
    return proxy


def severity_of(level: int) -> Severity:
    """Return the severity of a level of `logging`."""
    for least, severity in (
        (logging.CRITICAL, Severity.CRITICAL),
        (logging.ERROR, Severity.ERROR),
        (logging.WARNING, Severity.WARNING),
        (logging.INFO, Severity.INFO),
    ):
        if level >= least:
            return severity
    return Severity.DEBUG


def _text(handler: logging.Handler, record: logging.LogRecord) -> str:
    """Return the message with its traceback: time, level and logger travel beside it.

    A formatter of the agent's own class, or one that shows fields of its own, is used as it is.
    """
    formatter = handler.formatter
    if formatter is None:
        return _PLAIN.format(record)
    words = set(_WORD.findall(getattr(formatter, "_fmt", None) or ""))
    if type(formatter) is not logging.Formatter or not (words & vars(record).keys()) <= _STANDARD:
        return handler.format(record)
    return _PLAIN.format(record)

"""How log lines look, set up once for each process. Everything logs through the standard `logging` (loggers below
`quiesce`), which costs an executor nothing; only a process that shows lines to somebody imports this and structlog.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog

Format = Literal["console", "json"]


def configure(form: Format = "console", *, level: int = logging.INFO, file: TextIO | None = None) -> logging.Handler:
    """Send everything below the logger `quiesce`, and what structlog logs, to `file` (standard error).

    `console` is for eyes, coloured on a terminal; `json` is one object a line. Returns the handler; called
    again, it replaces the former one.
    """
    file = sys.stderr if file is None else file
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(file)
    handler.set_name("quiesce")
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(form, file)],
        )
    )
    root = logging.getLogger("quiesce")
    for old in [old for old in root.handlers if old.get_name() == "quiesce"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    root.propagate = False
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    return handler


def _rendering(form: Format, file: TextIO) -> list[structlog.typing.Processor]:
    if form == "json":
        return [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    return [structlog.dev.ConsoleRenderer(colors=file.isatty())]

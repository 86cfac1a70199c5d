"""Log lines: what the standard loggers and structlog say comes out in one form."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from runtime.log import configure


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger("quiesce")
    before = (list(root.handlers), root.level, root.propagate)
    yield
    root.handlers[:], root.propagate = before[0], before[2]
    root.setLevel(before[1])
    structlog.reset_defaults()


def test_json_lines() -> None:
    file = io.StringIO()
    configure("json", file=file)
    logging.getLogger("quiesce.agent").warning("hello %s", "you", extra={"metadata": {"n": 1}})
    structlog.get_logger("quiesce.supervisor").info("started", workers=4)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("quiesce.bus").exception("broken")
    first, second, third = map(json.loads, file.getvalue().splitlines())
    assert (first["event"], first["level"], first["logger"], first["metadata"]) == (
        "hello you",
        "warning",
        "quiesce.agent",
        {"n": 1},
    )
    assert (second["event"], second["workers"], second["logger"]) == ("started", 4, "quiesce.supervisor")
    assert third["exception"][0]["exc_type"] == "ValueError"


def test_console_lines_are_plain_without_a_terminal() -> None:
    file = io.StringIO()
    configure("console", file=file)
    logging.getLogger("quiesce.agent").info("hello")
    assert "hello" in file.getvalue()
    assert "\x1b" not in file.getvalue()


def test_configured_again_replaces_the_handler_and_keeps_the_level() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("json", file=first)
    configure("json", file=second, level=logging.WARNING)
    logging.getLogger("quiesce").info("no")
    structlog.get_logger("quiesce").info("no")
    logging.getLogger("quiesce").warning("yes")
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["event"] == "yes"

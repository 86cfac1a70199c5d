"""Agents that write: too much, or what drives a terminal."""

from __future__ import annotations

import itertools
import logging
import os
import sys
from contextlib import suppress
from typing import Any

from runtime import ExecutionState
from tests.support.sync import announce

HOSTILE = "\x1b]0;EVIL\x07\x1b[31mred\x9b31m\x7f\x00\b\u202eltr\u2066\u200f\u2028new\u2029line[/b] [bold]not[/2026]\r"


def prints(task: dict[str, Any], state: ExecutionState) -> None:
    """Numbers, without end."""
    announce(task["post"])
    for number in itertools.count():
        print(number)


def warns(task: dict[str, Any], state: ExecutionState) -> None:
    """Log lines, without end."""
    announce(task["post"])
    for number in itertools.count():
        logging.warning("number %d", number)  # noqa: LOG015 - as programs do


def blank(task: dict[str, Any], state: ExecutionState) -> None:
    """Empty lines, many at a time."""
    announce(task["post"])
    while True:
        os.write(2, b"\n" * (1 << 16))


def emits(task: dict[str, Any], state: ExecutionState) -> None:
    """Emit events without end, interrupted or not."""
    announce(task["post"])
    while True:
        with suppress(BaseException):
            while True:
                state.emit("word", text="x" * 20_000)


def hostile(task: dict[str, Any], state: ExecutionState) -> str:
    """Says, emits, returns or fails with what drives a terminal."""
    print(HOSTILE)
    print(HOSTILE, file=sys.stderr)
    os.write(1, b"\xff\xfe\x1b[2J\n")
    state.emit("hostile", text=HOSTILE)
    if task.get("fail"):
        raise RuntimeError(HOSTILE)
    if task.get("post"):
        announce(task["post"])
        state.sleep(1000)
    return HOSTILE

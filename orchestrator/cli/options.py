"""Options and their parsers that several commands share."""

from __future__ import annotations

import re
from typing import Annotated

import typer

JournalOption = Annotated[
    str | None,
    typer.Option("--journal", "-j", metavar="PATH|URL", help="The journal. [default: $QUIESCE_JOURNAL, or quiesce.db]"),
]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def seconds(text: str) -> float:
    """Seconds: a number, with an optional unit s, m or h."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|m|h)?", str(text).strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a time: write seconds, like 90 or 1.5, or 90s, 15m, 2h")
    return float(match[1]) * {None: 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def size(text: str) -> int:
    """Bytes: a number, with an optional unit K, M, G or T (powers of 1024)."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kmgt]?)(?:i?b)?", str(text).strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size: write bytes, or 500M, 2G")
    return int(float(match[1]) * _UNITS[match[2]])

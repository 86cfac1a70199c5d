"""Options and their parsers that several commands share."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

from runtime.limits import LARGEST_SIZE, LONGEST_SECONDS
from runtime.model import Severity

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def seconds(text: str) -> float:
    """Seconds: a number, with an optional unit s, m or h."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|m|h)?", str(text).strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a time: write seconds, like 90 or 1.5, or 90s, 15m, 2h")
    found = float(match[1]) * {None: 1, "s": 1, "m": 60, "h": 3600}[match[2]]
    if found > LONGEST_SECONDS:
        raise typer.BadParameter(f"{_short(text)} is more than ten years ({LONGEST_SECONDS / 3600:.0f}h)")
    return found


def size(text: str) -> int:
    """Bytes: a number, with an optional unit K, M, G or T (powers of 1024)."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kmgt]?)(?:i?b)?", str(text).strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size: write bytes, or 500M, 2G")
    found = float(match[1]) * _UNITS[match[2]]
    if found > LARGEST_SIZE:
        raise typer.BadParameter(f"{_short(text)} is more than {LARGEST_SIZE} bytes")
    return int(found)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class ProgressMode(StrEnum):
    """Whether there is a live display."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


JournalOption = Annotated[
    str | None,
    typer.Option("--journal", "-j", metavar="PATH|URL", help="The journal. (default: $QUIESCE_JOURNAL, or quiesce.db)"),
]
JournalGroupOption = Annotated[
    bool, typer.Option("--journal-group", help="A new journal is for its group too; else for its owner alone.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Executor processes. (default: one for each usable processor)"),
]
ConcurrencyOption = Annotated[
    int | None, typer.Option(min=1, help="Tasks of an async agent that each executor runs at once.")
]
TimeoutOption = Annotated[
    float | None, typer.Option(parser=seconds, metavar="S", help="Seconds that one task may take.")
]
DeadlineOption = Annotated[
    float | None, typer.Option(parser=seconds, metavar="S", help="Seconds that the whole run may take.")
]
GraceOption = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="S", help="Seconds between the interrupt flag and SIGTERM. (default: 10)"),
]
TermGraceOption = Annotated[
    float | None, typer.Option(parser=seconds, metavar="S", help="Seconds between SIGTERM and SIGKILL. (default: 5)")
]
RetriesOption = Annotated[int | None, typer.Option(min=0, help="How often a failed task is tried again.")]
MaxFailuresOption = Annotated[
    str | None, typer.Option(metavar="N|P%", help="Stop when more tasks than this have failed.")
]
MemoryOption = Annotated[
    int | None,
    typer.Option(
        parser=size, metavar="SIZE", help="Memory that an executor and its children may use, like 500M or 2G."
    ),
]
LogFormatOption = Annotated[LogFormat, typer.Option(help="Log lines for people or for machines.")]
LogLevelOption = Annotated[
    Severity | None, typer.Option(help="The least severe lines to show. (default: info; warning under a live display)")
]
ProgressOption = Annotated[
    ProgressMode, typer.Option(help="A live display on standard error; auto: if that is a terminal.")
]
ExitCodeOption = Annotated[
    int | None,
    typer.Option(min=0, max=255, help="Exit with this code when interrupted, instead of dying by the signal, or 75."),
]
KeepOption = Annotated[
    bool, typer.Option("--keep-children", help="Do not end the processes that an executor leaves behind.")
]
PreemptOption = Annotated[
    bool, typer.Option("--preempt", help="A more urgent task interrupts a less urgent one, which goes on later.")
]
HostGraceOption = Annotated[
    float | None,
    typer.Option(
        parser=seconds,
        metavar="S",
        envvar="QUIESCE_HOST_GRACE",
        help="Seconds between the host's SIGTERM and SIGKILL; the graces shrink to fit. (default: systemd is asked)",
    ),
]
HeartbeatTimeoutOption = Annotated[
    float | None,
    typer.Option(
        parser=seconds,
        metavar="S",
        help="Seconds (0.5 or more) without a heartbeat or use of the processor before an executor is replaced. "
        "(default: 60)",
    ),
]
RecycleAfterOption = Annotated[
    int | None,
    typer.Option("--max-tasks-per-executor", min=1, metavar="N", help="Replace an executor after so many tasks."),
]
RecycleAboveOption = Annotated[
    int | None,
    typer.Option(
        "--max-memory-per-executor",
        parser=size,
        metavar="SIZE",
        help="Replace an executor, when it has nothing in hand, once it and its children hold so much memory.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="At the end, print one JSON object on standard output: how the run ended.")
]

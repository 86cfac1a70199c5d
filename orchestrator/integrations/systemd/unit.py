"""A systemd service for a run: its times agree with the ladder, its restarts resume, its sandbox is tight. Pure.

Why each line is as it is, is told in docs/systemd.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from orchestrator.core import stop_budget
from orchestrator.core.ladder import Ladder
from runtime.errors import UsageError
from runtime.model import escape_surrogates

WATCHDOG_SECONDS: Final = 30.0
"""The loop turns four times a second; a disk that stalls for longer than this is worth a restart."""

RESTART_SECONDS: Final = 5.0
"""Whatever killed it may need a moment to go away."""

_LONGEST_LINE: Final = 1 << 20
"""Bytes, systemd's LONG_LINE_MAX."""

_SUPERVISOR_MEMORY: Final = 256 << 20
"""Bytes for the supervisor, its guardian and the journal, beside what the executors may use."""

_HARDENING: Final = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
# an agent that uses a GPU needs PrivateDevices=no
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUnit:
    """What is to be served. Sizes in bytes, times in seconds; every path absolute.

    `user` None lets systemd make one up (DynamicUser=). `state` is a directory below /var/lib that systemd makes
    and gives to that user; `writable` are those that exist. `bound` and
    `bound_read_only` are in /tmp, which it has for itself, and have to be shown to it.
    """

    run_id: str
    agent: str
    command: Sequence[str]
    directory: str
    ladder: Ladder
    user: str | None = None
    state: str | None = None
    writable: Sequence[str] = ()
    bound: Sequence[str] = ()
    bound_read_only: Sequence[str] = ()
    reads_home: bool = False
    memory_max: int | None = None
    watchdog: float = WATCHDOG_SECONDS
    restart_delay: float = RESTART_SECONDS


def memory_for(workers: int, limit: int | None) -> int | None:
    """What a whole service may use when each executor may use `limit` bytes."""
    return None if limit is None else workers * limit + _SUPERVISOR_MEMORY


def stop_seconds(ladder: Ladder) -> int:
    """TimeoutStopSec for a ladder: whole seconds, so that it is read as it was written."""
    return math.ceil(ladder.total + stop_budget.MARGIN)


def decimal(number: float) -> str:
    """All of its digits and never an exponent, which neither systemd nor our own options read."""
    return f"{Decimal(repr(number)):f}".removesuffix(".0")


def render(service: ServiceUnit) -> str:
    """The text of the unit file. Raises UsageError for a word that systemd would read as another one."""
    sections = [_unit(service), _service(service), "[Install]\nWantedBy=multi-user.target"]
    text = "\n\n".join(sections) + "\n"
    if max(len(line.encode()) for line in text.split("\n")) >= _LONGEST_LINE:
        raise UsageError("the command is too long for a unit: systemd reads lines of at most 1 MiB")
    return text


def _unit(service: ServiceUnit) -> str:
    return f"""\
[Unit]
Description=quiesce run {_described(service.run_id)} of {_described(service.agent)}
# a run that fails again and again is left alone after {_BURST} starts in {_INTERVAL} s
StartLimitIntervalSec={_INTERVAL}
StartLimitBurst={_BURST}"""


_INTERVAL, _BURST = 300, 30


def _service(service: ServiceUnit) -> str:
    ladder = service.ladder
    lines = [
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={command_line(service.command)}",
        f"WorkingDirectory={_exact('the working directory', service.directory)}",
        *_identity(service),
        "",
        "# 75: interrupted, to be resumed. 1: over, with failed tasks; 2: wrong usage; neither gets better by itself",
        "Restart=on-failure",
        f"RestartSec={decimal(service.restart_delay)}",
        "SuccessExitStatus=75",
        "RestartForceExitStatus=75",
        "RestartPreventExitStatus=1 2",
        "TimeoutStartSec=300",
        f"# {stop_budget.describe_rungs(ladder)}",
        f"TimeoutStopSec={stop_seconds(ladder)}",
        "KillMode=mixed",
        f"WatchdogSec={decimal(service.watchdog)}",
        "# an abort by the watchdog writes the stacks of all threads",
        "Environment=PYTHONFAULTHANDLER=1",
        "",
        "# one executor that is out of memory costs one attempt of its task, not the service",
        "OOMPolicy=continue",
        *([f"MemoryMax={service.memory_max}"] if service.memory_max is not None else []),
        "",
        _HARDENING.format(home="read-only" if service.reads_home else "yes"),
    ]
    return "\n".join(lines)


def _identity(service: ServiceUnit) -> list[str]:
    lines = ["DynamicUser=yes"] if service.user is None else [f"User={_user(service.user)}"]
    if service.state is not None:
        lines.append(f"StateDirectory={service.state}")
    folders = {
        "ReadWritePaths": service.writable, "BindPaths": service.bound, "BindReadOnlyPaths": service.bound_read_only,
    }  # fmt: skip
    return lines + [f"{name}={' '.join(map(_path, paths))}" for name, paths in folders.items() if paths]


def _path(path: str) -> str:
    """One of a list of paths. A colon would part it from another one (BindPaths=), unless it is escaped.

    These lists know quotes and backslashes, but not C's escapes.
    """
    _refuse_unprintable("the path", path)
    return quote(path).replace(":", "\\:")


def command_line(command: Sequence[str]) -> str:
    """Words as ExecStart= reads them. `%S` stays what it is: systemd's state directory."""
    program = command[0]
    _refuse_unprintable("the path of quiesce", program)
    if "$" in program or not program.startswith("/"):
        raise UsageError(f"systemd cannot start {program!r}: a program has an absolute path without $")
    return " ".join([quote(program), *(quote(word, dollars=True) for word in command[1:])])


STATE: Final = "\0S"
"""Stands for systemd's state directory in a word, so that a user's own %S is not taken for it."""


def quote(word: str, *, dollars: bool = False) -> str:
    """One word, as systemd.syntax(7) reads it: %% and $$ for themselves, C's escapes inside double quotes.

    Raises UsageError for a word that is no text in UTF-8, or has a NUL.
    """
    if escape_surrogates(word) != word or "\0" in word.replace(STATE, ""):
        raise UsageError(f"{word!r} cannot be written into a unit: it is not text in UTF-8")
    text = word.replace("%", "%%").replace(STATE, "%S")
    if dollars:
        text = text.replace("$", "$$")
    if text and all(letter.isalnum() or letter in "%$@_+=:,./-" for letter in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(letter if letter.isprintable() else _escape(letter) for letter in escaped) + '"'


def _escape(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode())


def _described(text: str) -> str:
    """For people: what would end the line, or join the next one to it, is a question mark."""
    return "".join(letter if letter.isprintable() and letter != "\\" else "?" for letter in text).replace("%", "%%")


def _exact(what: str, text: str) -> str:
    """For an option that takes the rest of its line as it is: no quotes, no escapes, and blanks at the end are lost."""
    _refuse_unprintable(what, text)
    if text != text.strip() or text.endswith("\\"):
        raise UsageError(f"{what} {text!r} cannot be written into a unit: it ends with a blank or a backslash")
    return text.replace("%", "%%")


def _user(name: str) -> str:
    if not name or name.startswith("-") or any(letter in ":/ " for letter in name):
        raise UsageError(f"{name!r} is no name of a user")
    return _exact("the user", name)


def _refuse_unprintable(what: str, text: str) -> None:
    """Control characters, line ends of any kind, blanks other than the space, and bytes that are no UTF-8."""
    if not text.isprintable():
        raise UsageError(f"{what} {text!r} cannot be written into a unit: it has characters that are not printable")

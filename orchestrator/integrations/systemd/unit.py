"""Render a systemd unit for a run: its timeouts match the ladder, a restart resumes, the sandbox is tight. Pure.

docs/systemd.md gives the reason for each line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.core import stop_budget
from orchestrator.core.ladder import Ladder
from orchestrator.units import format_number
from runtime.errors import UsageError
from runtime.reasons import escape_surrogates
from runtime.stop_limits import HOST_MARGIN

WATCHDOG_SECONDS: Final = 30.0
"""The supervision loop turns four times a second; a stall that is longer than this justifies a restart."""

RESTART_SECONDS: Final = 5.0
"""Seconds before a restart: the cause of the failure may need a moment to pass."""

_LONGEST_LINE: Final = 1 << 20
"""Bytes, systemd's LONG_LINE_MAX."""

_SUPERVISOR_MEMORY: Final = 256 << 20
"""Bytes for the supervisor, its guardian and the journal, in addition to those of the executors."""

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
    """Description of a service. Sizes in bytes, times in seconds, all paths absolute.

    user: None lets systemd make up a user (DynamicUser=).
    state: a directory below /var/lib that systemd creates for that user.
    writable: existing paths that the service may write.
    bound, bound_read_only: paths in /tmp that must be mounted into the private /tmp of the service.
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
    """Return the bytes that a whole service may use when each executor may use `limit` bytes."""
    return None if limit is None else workers * limit + _SUPERVISOR_MEMORY


def stop_seconds(ladder: Ladder) -> int:
    """Return TimeoutStopSec for a ladder, in whole seconds."""
    return math.ceil(ladder.total + HOST_MARGIN)


def render(service: ServiceUnit) -> str:
    """Return the text of the unit file. Raises UsageError for a value that systemd would read as another one."""
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
        f"RestartSec={format_number(service.restart_delay)}",
        "SuccessExitStatus=75",
        "RestartForceExitStatus=75",
        "RestartPreventExitStatus=1 2",
        "TimeoutStartSec=300",
        f"# {stop_budget.describe_rungs(ladder)}",
        f"TimeoutStopSec={stop_seconds(ladder)}",
        "KillMode=mixed",
        f"WatchdogSec={format_number(service.watchdog)}",
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
    """Quote one path of a list. A colon is escaped, because it separates two paths in BindPaths=.

    These lists support quotes and backslashes, but not C's escapes.
    """
    _refuse_unprintable("the path", path)
    return quote(path).replace(":", "\\:")


def command_line(command: Sequence[str]) -> str:
    """Quote the words of a command for ExecStart=. Raises UsageError if systemd cannot start the program."""
    program = command[0]
    _refuse_unprintable("the path of quiesce", program)
    if "$" in program or not program.startswith("/"):
        raise UsageError(f"systemd cannot start {program!r}: a program has an absolute path without $")
    return " ".join([quote(program), *(quote(word, dollars=True) for word in command[1:])])


STATE: Final = "\0S"
"""Stands for systemd's state directory (%S) in a word; a user's own %S is escaped."""


def quote(word: str, *, dollars: bool = False) -> str:
    """Quote one word for systemd.syntax(7): % and $ doubled, C's escapes inside double quotes.

    Raises UsageError for a word that is not text in UTF-8 or contains NUL.
    """
    if escape_surrogates(word) != word or "\0" in word.replace(STATE, ""):
        raise UsageError(f"{word!r} cannot be written into a unit: it is not text in UTF-8 without NUL")
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
    """Return text for a description: `?` for a character that would end the line or join the next line to it."""
    return "".join(letter if letter.isprintable() and letter != "\\" else "?" for letter in text).replace("%", "%%")


def _exact(what: str, text: str) -> str:
    """Return a value for an option that takes the rest of its line: no quotes, no escapes, no blanks at the end."""
    _refuse_unprintable(what, text)
    if text != text.strip() or text.endswith("\\"):
        raise UsageError(f"{what} {text!r} cannot be written into a unit: it ends with a blank or a backslash")
    return text.replace("%", "%%")


def _user(name: str) -> str:
    if not name or name.startswith("-") or any(letter in ":/ " for letter in name):
        raise UsageError(f"{name!r} is not a valid user name")
    return _exact("the user", name)


def _refuse_unprintable(what: str, text: str) -> None:
    """Raise UsageError for control characters, line ends, blanks other than a space, and bytes that are not UTF-8."""
    if not text.isprintable():
        raise UsageError(f"{what} {text!r} cannot be written into a unit: it has characters that are not printable")

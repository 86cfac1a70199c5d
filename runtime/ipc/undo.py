"""What an undo record runs (data, not code), what one start of it meant, and when it is tried again. Pure.

The records that carry it: executor_protocol.py, guardian_protocol.py, and the journal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from runtime.limits import check_seconds

MAX_BYTES: Final = 1 << 15
"""The most that an undo command may take as text, with its environment: one frame to the guardian that goes whole."""

FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 60.0
"""Seconds until an undo that did not succeed is tried again: the first time, and at most. Each is twice the last."""

ORDER_SECONDS: Final = 1.0
"""Seconds that a resource waits for the removal of those that its task has made after it. They may use it, as a
container uses a volume; but one that hangs must not keep the others from being removed."""

ENVIRONMENT: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|XDG_(RUNTIME_DIR|CONFIG_HOME|DATA_HOME)|KUBECONFIG|REGISTRY_AUTH_FILE"
    r"|(DOCKER|CONTAINER|CONTAINERS|PODMAN|STORAGE|BUILDAH)_\w+"
)
"""The variables of the task's process that are kept with a record: where programs and their servers are found. Others
are not, because they may be secret and a journal is kept."""

_NOT_STARTED: Final = frozenset({126, 127})
"""What a shell and the guardian exit with when there is no such program: no sign that the resource is gone."""

_THING: Final = (
    "container|volume|pod|network|image|object|vm|domain|machine|sandbox|instance|namespace|database|process"
)
_ABSENT: Final = re.compile(
    rf"\bno such (?:{_THING})\b|\bno (?:{_THING})s? with (?:name|id)\b|\(NotFound\)"
    rf"|\b(?:{_THING})\b[^\n]{{0,200}}\b(?:not found|does not exist|doesn't exist)\b",
    re.IGNORECASE,
)
"""What docker, podman, kubectl, virsh and the like write when there is nothing to remove."""


class UndoCommand(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a command that removes an external resource.

    `kind` and `name` say what it removes, for people. `env`: variables besides those that the process has that runs it.
    `timeout`: seconds that each start of it may take, None for the run's. `absent_codes`: exit codes that mean that
    there is nothing to remove. `anywhere`: whether it reaches the resource from every host.
    """

    kind: str
    argv: list[str]
    name: str = ""
    env: dict[str, str] = {}
    cwd: str = ""
    timeout: float | None = None
    absent_codes: list[int] = []
    anywhere: bool = False


class UndoResult(msgspec.Struct, frozen=True, array_like=True):
    """Hold how one start of an undo command ended.

    `done`: the resource is gone. `found`: there was something to remove, as far as is known. `error` says in one line
    why it is not done. `is_cut_off`: it was ended because the run's end left it no time.
    """

    done: bool
    found: bool = True
    error: str = ""
    seconds: float = 0.0
    is_cut_off: bool = False


def make_command(
    kind: str,
    argv: Sequence[str],
    *,
    name: str = "",
    env: Mapping[str, str] | None = None,
    cwd: str = "",
    timeout: float | None = None,
    absent_codes: Sequence[int] = (),
    anywhere: bool = False,
) -> UndoCommand:
    """Return a checked command. Raises TypeError or ValueError for what no process could be started with."""
    if isinstance(argv, str | bytes):
        raise TypeError(f"an undo is a list of a command and its arguments, not the text {argv!r}")
    check_seconds("the timeout of an undo", timeout, above_zero=True)
    command = UndoCommand(
        kind=kind,
        argv=list(argv),
        name=name,
        env={} if env is None else dict(env),
        cwd=cwd,
        timeout=None if timeout is None else float(timeout),
        absent_codes=[int(code) for code in absent_codes],
        anywhere=bool(anywhere),
    )
    check(command)
    return command


def check(command: UndoCommand) -> None:
    """Raise TypeError or ValueError for a command that no process could be started with."""
    texts = [command.kind, command.name, command.cwd, *command.argv, *command.env, *command.env.values()]
    for text in texts:
        _check_text(text)
    if not command.argv or not command.argv[0]:
        raise ValueError("an undo needs a command")
    if any(not variable or "=" in variable for variable in command.env):
        raise ValueError("a variable in the environment of an undo has no name, or one with '='")
    if (size := sum(len(text.encode()) + 1 for text in texts)) > MAX_BYTES:
        raise ValueError(f"an undo of {size} bytes is larger than the {MAX_BYTES} that one may have")
    check_seconds("the timeout of an undo", command.timeout)


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"an undo is made of text, not of {type(text).__name__}: {text!r}")
    if "\0" in text:
        raise ValueError(f"an undo cannot have a NUL character: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"an undo must be text that UTF-8 can encode, not {text!r}") from None


def kept_environment(environ: Mapping[str, str], more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that are kept with a record: some of a process's own, and `more`."""
    kept = {name: value for name, value in environ.items() if ENVIRONMENT.fullmatch(name) and value.isprintable()}
    return {**kept, **(more or {})}


def judge(command: UndoCommand, code: int, output: str, seconds: float) -> UndoResult:
    """Return what the end of a command means. `code`: as a process's returncode; `output`: the end of what it wrote."""
    if code == 0:
        return UndoResult(done=True, seconds=seconds)
    is_absent = code in command.absent_codes or (code > 0 and code not in _NOT_STARTED and _ABSENT.search(output))
    if is_absent:
        return UndoResult(done=True, found=False, seconds=seconds)
    how = f"exit code {code}" if code > 0 else f"signal {-code}"
    lines = output.strip().splitlines()
    return UndoResult(done=False, error=f"{how}: {lines[-1].strip()[:500]}" if lines else how, seconds=seconds)


def may_start(later: Iterable[float | None], now: float) -> bool:
    """Return whether an undo may start at `now`, beside those of what its task has made later.

    `later`: for each of these since when its command runs; None: it has not been started yet. Those that have ended,
    and those that are to be tried again, are not among them.
    """
    return all(since is not None and since + ORDER_SECONDS <= now for since in later)


def retry_delay(tries: int) -> float:
    """Return the seconds until the next start of a command that was started `tries` times without success."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(max(0, tries - 1), 10))

"""What an undo record runs: data, not code. Pure, a leaf.

The records that carry it: executor_protocol.py, guardian_protocol.py, and the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from runtime.limits import check_seconds

UNDO_TIMEOUT: Final = 30.0
"""Default of the seconds that an undo command may take, each time that it is started."""

MAX_BYTES: Final = 1 << 15
"""The most that an undo command may take as text, with its environment: one frame to the guardian that goes whole."""


class UndoCommand(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a command that removes an external resource.

    `kind` and `name` say what it removes, for people. `env`: variables besides those that the process has that runs it.
    `timeout`: seconds that it may take. `absent_codes`: exit codes that mean that there is nothing to remove.
    `anywhere`: whether it reaches the resource from every host.
    """

    kind: str
    argv: list[str]
    name: str = ""
    env: dict[str, str] = {}
    cwd: str = ""
    timeout: float = UNDO_TIMEOUT
    absent_codes: list[int] = []
    anywhere: bool = False


def make_command(
    kind: str,
    argv: Sequence[str],
    *,
    name: str = "",
    env: Mapping[str, str] | None = None,
    cwd: str = "",
    timeout: float = UNDO_TIMEOUT,
    absent_codes: Sequence[int] = (),
    anywhere: bool = False,
) -> UndoCommand:
    """Return a checked command. Raises TypeError or ValueError for what no process could be started with."""
    if isinstance(argv, str | bytes) or not argv:
        raise ValueError(f"an undo is a list of a command and its arguments, not {argv!r}")
    env = {} if env is None else dict(env)
    texts = [kind, name, cwd, *argv, *env, *env.values()]
    for text in texts:
        _check_text(text)
    if not argv[0]:
        raise ValueError("the command of an undo is empty")
    if any(not variable or "=" in variable for variable in env):
        raise ValueError("a variable in the environment of an undo has no name, or one with '='")
    if (size := sum(len(text.encode()) + 1 for text in texts)) > MAX_BYTES:
        raise ValueError(f"an undo of {size} bytes is larger than the {MAX_BYTES} that one may have")
    check_seconds("the timeout of an undo", timeout)
    return UndoCommand(
        kind=kind,
        argv=list(argv),
        name=name,
        env=env,
        cwd=cwd,
        timeout=float(timeout),
        absent_codes=[int(code) for code in absent_codes],
        anywhere=bool(anywhere),
    )


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"an undo is made of text, not of {type(text).__name__}: {text!r}")
    if "\0" in text:
        raise ValueError(f"an undo cannot have a NUL character: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"an undo must be text that UTF-8 can encode, not {text!r}") from None

"""The description of an exception that ended a task: enough to group, select and raise it again. A leaf, and pure.

It holds names and plain values only. A process that reads one executes nothing of it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from runtime.reasons import escape_surrogates
from runtime.user_frames import Frame

LONGEST_NAME: Final = 1000
"""Characters of a name in a description."""

MAIN_NAMES: Final = frozenset({"__main__", "__mp_main__"})
"""What the script of a process may be called: by itself, and by an executor."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent raised.

    type: the name of the exception's class, with its module unless that is builtins. `bases`: the names of the classes
    above it, nearest first, without object.
    frame: the innermost frame of the user's own code.
    arguments: the exception's `args`, its attributes, and what else its built-in class has, in the encoding of
    `runtime.ipc.plain_values`; None if one of them is not a plain value.
    retry_after: seconds after which a task asks to be tried again (RetryLater).
    """

    type: str
    bases: list[str] = []
    frame: Frame | None = None
    arguments: bytes | None = None
    retry_after: float | None = None

    def is_of(self, names: frozenset[str]) -> bool:
        """Return whether the exception is of a class with one of these names, qualified or not, or of one below it."""
        return any(name in names or name.rpartition(".")[2] in names for name in (self.type, *self.bases))


def class_name(kind: type) -> str:
    """Return the name of a class, with its module unless that is builtins; `__main__` for the script of a run."""
    try:
        module, name = str(kind.__module__), str(kind.__qualname__)
    except Exception:  # noqa: BLE001 - a metaclass can break even the question for a name
        return "?"
    module = "__main__" if module in MAIN_NAMES else module
    return escape_surrogates((name if module == "builtins" else f"{module}.{name}")[:LONGEST_NAME])

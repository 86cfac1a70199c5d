"""The description of an exception that ended a task: enough to group, select and raise it again. A leaf, and pure.

It holds names and plain values only. A process that reads one executes nothing of it.
"""

from __future__ import annotations

import msgspec

from runtime.user_frames import Frame


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent raised.

    type: the name of the exception's class, with its module unless that is builtins. `bases`: the names of the classes
    above it, nearest first, without object.
    frame: the innermost frame of the user's own code.
    arguments: the exception's `args`, its attributes, and what else its built-in class has, in the encoding of
    `runtime.ipc.plain_values`; None if one of them is not a plain value.
    """

    type: str
    bases: list[str] = []
    frame: Frame | None = None
    arguments: bytes | None = None

    def is_of(self, names: frozenset[str]) -> bool:
        """Return whether the exception is of a class with one of these names, qualified or not, or of one below it."""
        return any(name in names or name.rpartition(".")[2] in names for name in (self.type, *self.bases))

"""Put texts into a shell script so that the shell takes each for text, wherever it stands. Pure.

*Theory.* A text in single quotes is literal for a POSIX shell (POSIX.1-2017, 2.2.2). But a replacement string may stand
inside of quotes already: `"{}"` with the text `'$(rm x)'` would be executed. So the script is read once, and each
place gets the quoting of its context: outside of quotes, in single quotes, in double quotes. Contexts that nest others
(a command substitution in double quotes, a backtick, a here-document) are not read: a replacement string there is
refused, and `"$1"`, `"$2"` and so on, which hold the same texts, are the way.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from runtime.errors import UsageError

_DOUBLE: Final = re.compile(r'(["$`\\])')
_PARAMETER: Final = re.compile(r"\$\{?[1-9@*]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


class Context(Enum):
    """Where in a script a place is."""

    BARE = auto()
    SINGLE = auto()
    DOUBLE = auto()
    NESTED = auto()


class ContextReader:
    """Follow the quotes of a script, piece by piece."""

    def __init__(self) -> None:
        self._context = Context.BARE
        self._escaped = False
        self._before = ""

    @property
    def context(self) -> Context:
        """Return the context of the place behind what was read."""
        return Context.NESTED if self._escaped and self._context is Context.DOUBLE else self._context

    @property
    def is_escaped(self) -> bool:
        """Return whether a backslash stands immediately before this place."""
        return self._escaped

    def read(self, text: str) -> None:
        """Read a piece of the script. What a replacement string becomes is complete in itself, and is not read."""
        for character in text:
            self._step(character)
            self._before = character

    def _step(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\" and self._context in (Context.BARE, Context.DOUBLE):
            self._escaped = True
        else:
            self._context = self._next(character)

    def _next(self, character: str) -> Context:
        """Return the context behind a character that no backslash stands before."""
        pair = self._before + character
        if self._context is Context.SINGLE:
            return Context.BARE if character == "'" else Context.SINGLE
        if self._context is Context.NESTED or character == "`" or pair == "<<":
            return Context.NESTED
        if self._context is Context.DOUBLE:
            if pair in ("$(", "${"):
                return Context.NESTED
            return Context.BARE if character == '"' else Context.DOUBLE
        if character == "'":
            return Context.NESTED if pair == "$'" else Context.SINGLE  # $'…' has escapes of its own (bash)
        return Context.DOUBLE if character == '"' else Context.BARE


def has_parameters(script: str) -> bool:
    """Return whether a script has `$1`, `$@`, `${2}` or the like where the shell sees it."""
    reader = ContextReader()
    for number, character in enumerate(script):
        is_seen = reader.context is not Context.SINGLE and not reader.is_escaped
        if character == "$" and is_seen and _PARAMETER.match(script, number):
            return True
        reader.read(character)
    return False


def quote(text: str, context: Context = Context.BARE) -> str:
    """Return a text as a shell reads it in a context. Raises UsageError for a context in which it cannot be quoted."""
    if context is Context.NESTED:
        raise UsageError(
            "a replacement string stands where its quoting is not known: inside of `…`, or of $(…) or ${…} in double "
            'quotes, behind a here-document, or behind a backslash; write "$1" there, which holds the same text'
        )
    if context is Context.SINGLE:
        return text.replace("'", "'\\''")
    if context is Context.DOUBLE:
        return _DOUBLE.sub(r"\\\1", text)
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\"'\"'") + "'"

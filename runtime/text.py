"""Make text from outside safe to show: no control characters, no markup, and no more than there is room for.

Keys, run ids, messages, paths, errors, events and agents' output come from outside. Shown as they are they
could drive a terminal, hide or forge a line, or push out what stands beside them. Every surface passes them through
here; the one place that decides which characters are shown as escapes is `printable`. Pure.
"""

from __future__ import annotations

import shlex
from typing import Any


class _Escapes(dict[int, str]):
    """For `str.translate`: every character that is not printable becomes a visible escape."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        return character if character.isprintable() else _escape(character)


class _JsonEscapes(dict[int, str]):
    """The same as JSON writes it, inside of strings; the white space between values stays."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        return character if character.isprintable() else _escape_for_json(character)


def printable(text: str) -> str:
    r"""Return one line without control characters, which are shown as escapes: `\x1b`, `\n`, `\u202e`.

    Not printable is what Unicode calls a control or format character (C0, DEL, C1, marks of direction), a separator
    other than the blank, a lone surrogate, or nothing at all: such a character is no text, or moves the text beside it.
    """
    return text if text.isprintable() else text.translate(_ESCAPES)


def printable_lines(text: str) -> str:
    """Return text of several lines without control characters, except the line ends."""
    return "\n".join(map(printable, text.split("\n")))


def single_line(text: str, limit: int) -> str:
    """Return text on one line, as `printable`, white space as single blanks, cut at `limit` characters."""
    seen = text[: 32 * limit]  # text that is not shown costs no time, however long it is
    line = printable(" ".join(seen.split()))
    return line if len(line) <= limit and len(seen) == len(text) else line[: limit - 1] + "…"


def printable_json(text: str) -> str:
    """Return a JSON document of the same value without control characters, on one line or several."""
    return text if text.isprintable() else text.translate(_JSON_ESCAPES)


def printable_value(value: Any) -> Any:
    """Return a log field for people: numbers, and lists whose `repr` is printable, as they are; else text."""
    if value is None or type(value) in {bool, int, float}:
        return value
    if isinstance(value, str):
        return printable(value)
    text = repr(value)
    return value if type(value) in {list, tuple, dict} and text.isprintable() else printable(text)


def shell_word(text: str) -> str:
    r"""One word of a command that a person may copy into a shell: what is not printable as `$'\033'`."""
    if text.isprintable():
        return shlex.quote(text)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    shown = (character if character.isprintable() else _escape_for_shell(character) for character in quoted)
    return f"$'{''.join(shown)}'"


def _escape_for_shell(character: str) -> str:
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"  # a byte of an argument
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", errors))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _escape_for_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


_ESCAPES = _Escapes()
_ESCAPES.update({code: _ESCAPES[code] for code in range(256)})  # the frequent ones: a look-up instead of a call
_JSON_ESCAPES = _JsonEscapes({ord(blank): blank for blank in "\n\r\t"})

"""Somebody else's words where people and tools read them: no control characters, no more than there is room for. Pure.

A task's error, or the message of whoever asked for a stop, must neither drive a terminal nor push out what stands
beside it.
"""

from __future__ import annotations


def plain(text: str) -> str:
    """One line without control characters: they are shown as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def plain_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(map(plain, text.split("\n")))


def one_line(text: str, limit: int) -> str:
    """White space as single blanks, then as `plain`; of what is longer than `limit` characters, the beginning."""
    line = plain(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()

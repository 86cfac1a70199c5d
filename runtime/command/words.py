"""Put inputs into the words of a command: GNU parallel's replacement strings. Pure.

`{}` is the input, `{.}` without its extension, `{/}` its last part, `{//}` its folder, `{/.}` its last part without
extension, `{#}` the number of the task, `{%}` the number of its place among those that run (1 to --workers). `{1}`,
`{2.}` and so on are the elements of an input that is a list, `{name}`, `{name.}` the fields of one that is an object.
A command without any of them gets the input as its last word; so does a script, unless it has `$1` or `$@`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from runtime.command.shell_words import Context, ContextReader, has_parameters, quote
from runtime.errors import UsageError

_PLACE: Final = re.compile(r"\{(?:(?P<mark>[#%])|(?P<name>\d+|[^\W\d][\w-]*)?(?P<form>/\.|//|/|\.)?)\}")
_EXTENSION: Final = re.compile(r"\.[^/.]*\Z")
_encode = msgspec.json.Encoder().encode

SHELL: Final = "/bin/sh"
"""The shell of --shell."""


@dataclass(frozen=True, slots=True)
class Place:
    """A replacement string. `name`: a field or the number of an element; `mark`: # or %."""

    text: str
    name: str
    form: str
    mark: str


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """The numbers of a task: its own, and that of its place among those that run, both from 1."""

    number: int
    slot: int


Part = str | Place


class CommandWords:
    """The words of a command, parsed once. Raises UsageError for a command without words.

    shell: the words are one script, joined by spaces; what is put in is quoted.
    """

    def __init__(self, words: Sequence[str], *, shell: bool = False) -> None:
        if not words or not words[0]:
            raise UsageError("there is no command behind --")
        parsed = [list(_parse(word)) for word in words]
        has_place = any(isinstance(part, Place) for word in parsed for part in word)
        if not has_place and not (shell and has_parameters(" ".join(words))):
            parsed.append([Place("{}", "", "", "")])
        self._words = parsed
        self._is_shell = shell
        if shell:
            self._script = _join(parsed)

    def for_input(self, value: Any, place: TaskPlace) -> list[str]:
        """Return the words for one input. Raises UsageError for an input that does not fit."""
        if self._is_shell:
            return self._shell_words(value, place)
        words: list[str] = []
        for word in self._words:
            if len(word) == 1 and isinstance(whole := word[0], Place):  # all elements of a list, each a word
                words.extend(_texts(whole, value, place))
            else:
                words.append("".join(part if isinstance(part, str) else _text(part, value, place) for part in word))
        return words

    def _shell_words(self, value: Any, place: TaskPlace) -> list[str]:
        reader, pieces = ContextReader(), []
        for part in self._script:
            if isinstance(part, str):
                reader.read(part)
                pieces.append(part)
            elif reader.is_escaped:
                pieces.append(quote("", Context.NESTED))
            else:
                texts, context = _texts(part, value, place), reader.context
                pieces.append(" ".join(quote(text, context) for text in texts))
        return [SHELL, "-c", "".join(pieces), "sh", *elements(value)]

    def shown(self, value: Any, place: TaskPlace) -> str:
        """Return the command for one input as a line for a shell, as `parallel --dry-run` shows it."""
        words = self.for_input(value, place)
        return words[2] if self._is_shell else " ".join(quote(word) for word in words)


def elements(value: Any) -> list[str]:
    """Return the texts of an input: those of its elements if it is a list, else one."""
    return [_plain(element) for element in value] if isinstance(value, list) else [_plain(value)]


def input_text(value: Any) -> str:
    """Return the text of an input: of a list its elements with spaces between them, of an object its JSON."""
    return " ".join(elements(value))


def field_text(value: Any, name: str) -> str:
    """Return the text of a field of an input. Raises UsageError if there is none."""
    if not isinstance(value, Mapping):
        raise UsageError(f"the input is no object, so it has no field {name!r}")
    if name not in value:
        raise UsageError(f"the input has no field {name!r}; there are {', '.join(list(map(str, value))[:8]) or 'none'}")
    return _plain(value[name])


def _join(words: Sequence[Sequence[Part]]) -> list[Part]:
    script: list[Part] = []
    for number, word in enumerate(words):
        script += [*([" "] if number else []), *word]
    return script


def _parse(word: str) -> Iterator[Part]:
    end = 0
    for found in _PLACE.finditer(word):
        if found.start() > end:
            yield word[end : found.start()]
        yield Place(found[0], found["name"] or "", found["form"] or "", found["mark"] or "")
        end = found.end()
    if end < len(word):
        yield word[end:]


def _texts(part: Place, value: Any, place: TaskPlace) -> list[str]:
    """Return what a replacement string that stands alone becomes: a word for each element of a list."""
    if not part.mark and not part.name and isinstance(value, list):
        return [_FORMS[part.form](text) for text in elements(value)]
    return [_text(part, value, place)]


def _text(part: Place, value: Any, place: TaskPlace) -> str:
    if part.mark:
        return str(place.number if part.mark == "#" else place.slot)
    transform = _FORMS[part.form]
    if not part.name:
        return " ".join(transform(text) for text in elements(value))
    if part.name.isdecimal():
        texts, number = elements(value), int(part.name)
        return transform(texts[number - 1]) if 1 <= number <= len(texts) else ""
    if not isinstance(value, Mapping):
        return part.text  # as GNU parallel leaves what is none of its own: awk '{print}'
    return transform(field_text(value, part.name))


def _plain(value: Any) -> str:
    """Return the text of a value: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else _encode(value).decode()


def _without_extension(text: str) -> str:
    return _EXTENSION.sub("", text)


def _last_part(text: str) -> str:
    return text.rpartition("/")[2]


def _folder(text: str) -> str:
    return posixpath.dirname(text.rstrip("/") or text) or "."


_FORMS: Final[Mapping[str, Callable[[str], str]]] = {
    "": lambda text: text,
    ".": _without_extension,
    "/": _last_part,
    "//": _folder,
    "/.": lambda text: _without_extension(_last_part(text)),
}


def show_words(words: Sequence[str]) -> str:
    """Return words as a line for a shell, replacement strings as they are."""
    return " ".join(word if _PLACE.fullmatch(word) else quote(word) for word in words)

"""The inputs of `:::` and `::::`: all combinations of the lists, or, linked, their elements side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli.commands.parsing import InputList
from orchestrator.cli.inputs.entries import Entries, Entry
from orchestrator.cli.inputs.formats import InputFormat
from orchestrator.cli.inputs.input_sources import Source
from runtime.errors import UsageError
from runtime.ipc.codec import encode_json

Combination = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListSource(Source):
    """Lists as a source of inputs. An input is a text, or with several lists a list of texts."""

    lists: Sequence[Sequence[Combination]] = ()

    @property
    def unit(self) -> str:
        """What its numbers count."""
        return "input"

    @property
    def needs(self) -> str:
        """What it must have to have a task."""
        return "at least one word in each list"

    def entries(self) -> Entries:
        """Yield all combinations, the last list first, as GNU parallel does."""
        for number, parts in enumerate(itertools.product(*self.lists), 1):
            texts = [text for part in parts for text in part]
            value: str | list[str] = texts[0] if len(texts) == 1 else texts
            yield Entry(number, value, encode_json(value))


def source_of_lists(lists: Sequence[InputList], *, link: bool) -> ListSource:
    """Return the source of these lists. Raises UsageError for a file that cannot be read."""
    columns = [_expand(part) for part in lists]
    groups: list[list[Sequence[str]]] = []
    for part, column in zip(lists, columns, strict=True):
        for texts in column:
            if groups and (link or part.linked):
                groups[-1].append(texts)
            else:
                groups.append([texts])
    combined = [list(_side_by_side(group)) for group in groups]
    return ListSource("the list behind :::", "", InputFormat.LINES, lists=combined)


def _expand(part: InputList) -> list[Sequence[str]]:
    """Return the lists of one `:::`, or of each file of a `::::`."""
    return [_lines_of(name) for name in part.words] if part.from_files else [part.words]


def _lines_of(name: str) -> Sequence[str]:
    try:
        return Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read the inputs of :::: {name}: {reason}") from None


def _side_by_side(columns: Sequence[Sequence[str]]) -> Iterator[Combination]:
    """Yield the elements of linked lists; one that is shorter begins again, as in GNU parallel."""
    longest = max(map(len, columns))
    if longest and min(map(len, columns)):
        for number in range(longest):
            yield tuple(column[number % len(column)] for column in columns)

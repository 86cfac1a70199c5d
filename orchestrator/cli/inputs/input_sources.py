"""Find what --input names: a file, a stream, a folder or a pattern."""

from __future__ import annotations

import glob
import io
import itertools
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from orchestrator.cli.inputs.entries import Entries, Entry
from orchestrator.cli.inputs.formats import READERS, InputFormat, Reader, format_of_json, format_of_name
from runtime.errors import UsageError
from runtime.ipc.codec import encode_json
from runtime.reasons import escape_surrogates

STREAM: Final = "-"
"""The name of standard input."""

STANDARD_INPUT: Final = "standard input"


@dataclass(frozen=True, slots=True)
class Source:
    """One file or stream, or the paths that a folder or a pattern has.

    label: its name in messages. prefix: what begins the keys of its inputs when there are several sources.
    stream: what cannot be opened a second time. paths: inputs themselves, which are not read.
    """

    label: str
    prefix: str
    format: InputFormat
    stream: BinaryIO | None = None
    paths: Sequence[str] | None = None
    chosen: bool = False
    """Whether --input-format chose the format."""

    @property
    def unit(self) -> str:
        """What its numbers count."""
        return "file" if self.paths is not None else self.reader.unit

    @property
    def reader(self) -> Reader:
        """How its format is read; not for paths."""
        return READERS[self.format]

    @property
    def needs(self) -> str:
        """What it must have to have a task."""
        return "files" if self.paths is not None else self.reader.needs

    def refuse_empty(self) -> None:
        """Raise UsageError for a file of no bytes."""
        if self.stream is None and self.paths is None and not os.path.getsize(self.label):
            raise UsageError(f"the input {self.label} is empty: it needs {self.needs}")

    def entries(self) -> Entries:
        """Yield its inputs. Raises UsageError when it cannot be read, InvalidInputError for an input that is none."""
        if self.paths is not None:
            for number, path in enumerate(self.paths, 1):
                yield Entry(number, path, encode_json(path))
            return
        with ExitStack() as stack:
            try:
                stream = self.stream or stack.enter_context(Path(self.label).open("rb"))
                yield from self.reader.read(stream)
            except OSError as error:
                raise UsageError(f"cannot read the input {self.label}: {error.strerror or error}") from None


def find_sources(names: Iterable[str], chosen: InputFormat | None) -> Iterator[Source]:
    """Yield what these values of --input name. Raises UsageError for one that does not exist or cannot be read."""
    for name in names:
        if name == STREAM:
            yield _stream(sys.stdin.buffer, STANDARD_INPUT, STREAM, chosen)
        elif os.path.isdir(name):
            yield from _of_files(name, _files_in(name), chosen)
        elif _is_pattern(name):
            yield from _of_files(name, _matches(name), chosen)
        elif chosen is InputFormat.PATHS:
            _open(name).close()
            yield from _of_files(name, [name], chosen)
        else:
            yield _file(name, chosen)


def _file(name: str, chosen: InputFormat | None) -> Source:
    """Return a file, which is opened again to be read, or what can be opened only once, such as a FIFO."""
    file = _open(name)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return _stream(file, name, name, chosen)
    with file:
        form = chosen or format_of_name(name)
        if chosen is None and form is InputFormat.JSON:
            form = format_of_json(cast("io.BufferedReader", file).peek(1))
        return Source(name, name, form, chosen=chosen is not None)


def _stream(stream: BinaryIO, label: str, prefix: str, chosen: InputFormat | None) -> Source:
    form = chosen or (format_of_name(label) if label != STANDARD_INPUT else InputFormat.JSONL)
    if form is InputFormat.PATHS:
        raise UsageError(f"{label} is a stream: if each line of it is a path, give --input-format lines (or nul)")
    if not READERS[form].can_stream:
        raise UsageError(f"{label} is a stream, and {form} must be read from a file")
    return Source(label, prefix, form, stream, chosen=chosen is not None)


def _of_files(name: str, paths: Sequence[str], chosen: InputFormat | None) -> Iterator[Source]:
    """Yield the files of a folder or a pattern: their paths are the inputs, unless a format is chosen to read them."""
    for path in paths:
        if escape_surrogates(path) != path:
            raise UsageError(f"the input {path!r} has a name that is not UTF-8: rename it")
    if chosen is None or chosen is InputFormat.PATHS:
        yield Source(name, "", InputFormat.PATHS, paths=paths)
    else:
        yield from (_file(path, chosen) for path in paths)


def folder_of_pattern(name: str) -> str | None:
    """Return the folder below which a pattern finds files; None for what is no pattern."""
    if not _is_pattern(name):
        return None
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), Path(name).parts)
    return str(Path(*fixed))


def _is_pattern(name: str) -> bool:
    return glob.has_magic(name) and not os.path.lexists(name)


def _matches(pattern: str) -> Sequence[str]:
    paths = sorted(path for path in glob.iglob(pattern, recursive=True) if os.path.isfile(path))
    if not paths:
        raise UsageError(f"no file matches the input {pattern!r}")
    return paths


def _files_in(folder: str) -> Sequence[str]:
    """Return the files of a folder that are not hidden, without those of its folders."""
    try:
        with os.scandir(folder) as entries:
            paths = sorted(
                os.path.join(folder, entry.name)
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file()
            )
    except OSError as error:
        raise UsageError(f"cannot read the input {folder}: {error.strerror}") from None
    if not paths:
        raise UsageError(f"the folder {folder} has no files; for those of its folders: --input '{folder}/**'")
    return paths


def _open(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise UsageError(f"cannot read the input {name}: {error.strerror}") from None

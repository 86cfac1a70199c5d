"""Keep what a command writes: into a file without a name, which gets one when it is complete (O_TMPFILE, linkat(2)).

*Theory.* The command writes to the file itself. So output of any size passes through no process of ours, a daemon that
keeps the descriptor holds up nothing, and a crash leaves no half of a file. Rejected: pipes. Each piece would wake the
executor, and a pipe that a daemon keeps open never comes to its end.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from contextlib import suppress
from typing import Final

_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
_TEMPORARY: Final = ".quiesce-"


class OutputFile:
    """One stream of one command. `fd` is given to the command. Raises OSError when it cannot be made."""

    __slots__ = ("_folder", "_name", "fd")

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._name: str | None = None
        try:
            self.fd = os.open(folder, _TMPFILE | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in _UNSUPPORTED or not os.path.isdir(folder):
                raise
            self.fd, self._name = tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)  # a file system without O_TMPFILE

    @property
    def size(self) -> int:
        """Return the bytes that were written."""
        return os.fstat(self.fd).st_size

    def tail(self, most: int, size: int) -> bytes:
        """Return the last bytes of a stream of this size, `most` of them at most."""
        return os.pread(self.fd, min(most, size), max(0, size - most)) if size else b""

    def name(self, path: str) -> None:
        """Give the file its name, in place of another file that has it. It is complete there, or is not there."""
        if self._name is not None:
            os.replace(self._name, path)
            self._name = None
            return
        try:
            self._link(path)
        except FileExistsError:
            beside = f"{path}{_TEMPORARY}{os.getpid()}"
            with suppress(FileNotFoundError):
                os.unlink(beside)
            self._link(beside)
            os.replace(beside, path)

    def _link(self, path: str) -> None:
        """Link the file. Only with a descriptor of a folder does Python call linkat(2), which follows the link."""
        os.link(f"/proc/self/fd/{self.fd}", path, src_dir_fd=self.fd, follow_symlinks=True)

    def close(self) -> None:
        """Close the file. One that has got no name is gone when the command, too, has closed it."""
        os.close(self.fd)
        if self._name is not None:
            with suppress(OSError):
                os.unlink(self._name)


_TMPFILE: Final = getattr(os, "O_TMPFILE", os.O_DIRECTORY)

_UNSAFE: Final = re.compile(r"[/\\\t\n\r\0]")
_ESCAPES: Final = {"/": "\\_", "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
_LONGEST: Final = 200


def results_folder(root: str, texts: list[str], short: str) -> str:
    """Return the folder for the results of one input, as GNU parallel names it: ROOT/1/TEXT/2/TEXT.

    A text that is no name for a folder (`.`, `..`, empty, or too long) is replaced. `short`: a text that is different
    for each input.
    """
    parts = [root]
    for number, text in enumerate(texts, 1):
        parts += [str(number), _folder_name(text, short)]
    return os.path.join(*parts)


def _folder_name(text: str, short: str) -> str:
    name = _UNSAFE.sub(lambda found: _ESCAPES[found[0]], text)
    if name in ("", ".", ".."):
        return f"\\{name}."
    if len(name.encode("utf-8", "replace")) > _LONGEST:
        return f"{name.encode()[:_LONGEST].decode(errors='ignore')}\\{short}"
    return name

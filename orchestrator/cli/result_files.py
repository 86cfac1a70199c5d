"""Write a file that is complete or is not there, whatever ends the process meanwhile."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from runtime.errors import UsageError


@contextlib.contextmanager
def replaced_file(path: str) -> Iterator[BinaryIO]:
    """Open a file for the block that takes the place of `path` at its end, when its content is on the disk.

    A block that raises leaves what was there before. The file has no name until it is complete, so that not even
    SIGKILL leaves one behind; on a file system without such files it has a name that begins with a dot. Raises
    UsageError for what cannot be written.
    """
    target = os.path.realpath(path)
    try:
        _refuse_special(path, target)
        with _open_beside(target) as (fd, named):
            with open(fd, "wb", closefd=False) as file:
                yield file
            os.fsync(fd)
            _move(fd, named, target)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def _refuse_special(path: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(target).st_mode):
            raise UsageError(f"--output {path} is no regular file: write to standard output instead")


@contextlib.contextmanager
def _open_beside(target: str) -> Iterator[tuple[int, str | None]]:
    """Open a new file in the folder of `target`. Yield its descriptor, and its name if it has one."""
    folder = os.path.dirname(target)
    named = None
    try:
        fd = os.open(folder, os.O_WRONLY | os.O_CLOEXEC | os.O_TMPFILE, 0o666)
    except (OSError, AttributeError):  # no such files here, or not on this system
        fd, named = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=folder)
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(fd, 0o666 & ~mask)
    try:
        yield fd, named
    finally:
        os.close(fd)
        if named is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(named)


def _move(fd: int, named: str | None, target: str) -> None:
    """Give a complete file its name, and make that durable."""
    folder = os.path.dirname(target)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if named is None:
            named = os.path.join(folder, f".{os.path.basename(target)}.{secrets.token_hex(4)}")
            # With a descriptor Python calls linkat, which follows the link (man 2 open, O_TMPFILE); link does not.
            os.link(f"/proc/self/fd/{fd}", named, dst_dir_fd=directory, follow_symlinks=True)
        try:
            os.replace(named, target)
        except OSError:
            os.unlink(named)
            raise
        os.fsync(directory)
    finally:
        os.close(directory)

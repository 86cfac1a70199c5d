"""The Python stacks of this process as text."""

from __future__ import annotations

import faulthandler
import os
from contextlib import closing
from tempfile import TemporaryFile
from typing import IO


def read_stacks() -> str:
    """Of all threads. By way of memory: faulthandler writes to a descriptor, and standard error may hang."""
    with closing(_file()) as file:
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.seek(0)
        return file.read().decode(errors="backslashreplace").rstrip("\n")


def _file() -> IO[bytes]:
    try:
        return os.fdopen(os.memfd_create("quiesce-stacks"), "w+b")
    except (AttributeError, OSError):  # macOS, or a sandbox
        return TemporaryFile()

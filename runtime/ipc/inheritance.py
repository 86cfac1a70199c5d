"""What an executor takes over from the interpreter that started the run, as a child of multiprocessing's spawn does.

Flags, `-W` and `-X` options and the environment come with the guardian's own start (orchestrator's interpreter.py); the
rest is done here, and by child_identity.py when multiprocessing is imported. It is multiprocessing's `spawn.prepare`.
"""

from __future__ import annotations

import os
import sys

from runtime.ipc.guardian_protocol import Inheritance


def decode_text(data: bytes) -> str:
    """Text of the supervisor's interpreter, whatever it contains: file names need not be UTF-8."""
    return data.decode("utf-8", "surrogatepass")


def encode_text(text: str) -> bytes:
    """Return the bytes that `decode_text` turns into this text."""
    return text.encode("utf-8", "surrogatepass")


def take_over(inheritance: Inheritance) -> None:
    """Have the module search path, the arguments and the current directory of that interpreter."""
    sys.path[:] = [decode_text(path) for path in inheritance.sys_path]
    sys.argv[:] = [decode_text(word) for word in inheritance.argv]
    os.chdir(decode_text(inheritance.cwd))

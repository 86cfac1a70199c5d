"""What an executor takes over from the interpreter that started the run, as a child of multiprocessing's spawn does.

Flags, `-W` and `-X` options and the environment come with the guardian's own start (orchestrator's interpreter.py); the
rest is done here. It is multiprocessing's `spawn.prepare` and `BaseProcess._bootstrap` for a process that was forked.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from typing import Any

from runtime.ipc.guardian_protocol import Inheritance, ProcessTraits


def decode_text(data: bytes) -> str:
    """Text of the supervisor's interpreter, whatever it contains: file names need not be UTF-8."""
    return data.decode("utf-8", "surrogatepass")


def encode_text(text: str) -> bytes:
    """Return the bytes that `decode_text` turns into this text."""
    return text.encode("utf-8", "surrogatepass")


def take_over(inheritance: Inheritance, slot: int, sentinel: int | None) -> None:
    """Make this process look like a child of that interpreter.

    `sentinel`: a descriptor that becomes readable when the parent dies.
    """
    sys.path[:] = [decode_text(path) for path in inheritance.sys_path]
    sys.argv[:] = [decode_text(word) for word in inheritance.argv]
    os.chdir(decode_text(inheritance.cwd))
    for package, traits in inheritance.packages.items():
        _take_over_process(package, traits, inheritance.pid, slot, sentinel)


def _take_over_process(package: str, traits: ProcessTraits, parent: int, slot: int, sentinel: int | None) -> None:
    """Set what `package.current_process()` and `parent_process()` return, and the authkey."""
    process: Any = importlib.import_module(f"{package}.process")
    current: Any = process.BaseProcess(name=f"Executor-{slot + 1}")
    current._identity = (slot + 1,)  # noqa: SLF001 - its children's names begin with it
    current._parent_pid, current._parent_name = parent, traits.name  # noqa: SLF001
    current.authkey = traits.authkey
    process._current_process = current  # noqa: SLF001 - as its own _bootstrap does
    if sentinel is not None:
        process._parent_process = process._ParentProcess(traits.name, parent, sentinel)  # noqa: SLF001
    process._process_counter = itertools.count(1)  # noqa: SLF001
    process.ORIGINAL_DIR = None if traits.original_dir is None else decode_text(traits.original_dir)
    if traits.start_method is not None:
        importlib.import_module(package).set_start_method(traits.start_method, force=True)
    if traits.log_level is not None:
        util = importlib.import_module(f"{package}.util")
        if traits.log_to_stderr:
            util.log_to_stderr()
        util.get_logger().setLevel(traits.log_level)

"""Describe this interpreter for its executors: how to start another like it, and what a child of it inherits.

The measure is what multiprocessing's spawn passes on (`spawn.get_command_line`, `spawn.get_preparation_data`); all `-X`
options go with it, of which spawn passes on some.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType
from typing import Any

from runtime.ipc.guardian_protocol import Inheritance, ProcessTraits
from runtime.ipc.inheritance import encode_text

_PACKAGES = ("multiprocessing", "multiprocess")
"""`multiprocess` is the same code under another name, with a state of its own."""

AUTHKEY_SIZE = 32
"""Bytes of an authkey, as multiprocessing makes it."""


def command() -> list[str]:
    """Return the command of an interpreter with the options that this one has."""
    spawn = sys.modules.get("multiprocessing.spawn")
    chosen = spawn.get_executable() if spawn is not None else None  # multiprocessing.set_executable
    known: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 - what spawn uses
    return [os.fsdecode(chosen or sys.executable), *known, *_other_options(known)]


def _other_options(known: list[str]) -> list[str]:
    """Return the `-X` options that are not among these."""
    names = {option.partition("=")[0] for option in known}
    options = []
    for name, value in sys._xoptions.items():  # noqa: SLF001 - documented under that name
        if name not in names:
            options += ["-X", name if value is True else f"{name}={value}"]
    return options


def search_path() -> list[str]:
    """Return `sys.path`; '' becomes the current directory, for the executors too."""
    entries: list[Any] = sys.path  # the import system passes over what is no text
    return [path or os.getcwd() for path in entries if isinstance(path, str)] or [os.getcwd()]


def inheritance() -> Inheritance:
    """Return what the command line and the environment do not say."""
    return Inheritance(
        pid=os.getpid(),
        sys_path=[encode_text(path) for path in search_path()],
        argv=[encode_text(str(word)) for word in getattr(sys, "argv", [])],
        cwd=encode_text(os.getcwd()),
        packages={package: _traits(package) for package in _PACKAGES},
    )


def _traits(package: str) -> ProcessTraits:
    """Return what a package says of this process; what it would say, where it has not been imported.

    The authkey is then one that is the same in all executors.
    """
    process: ModuleType | None = sys.modules.get(f"{package}.process")
    whole: ModuleType | None = sys.modules.get(package)
    if process is None or whole is None:
        return ProcessTraits("MainProcess", os.urandom(AUTHKEY_SIZE), original_dir=encode_text(os.getcwd()))
    current = process.current_process()
    original = process.ORIGINAL_DIR
    level, to_stderr = _logging(sys.modules.get(f"{package}.util"))
    return ProcessTraits(
        name=str(current.name),
        authkey=bytes(current.authkey),
        original_dir=None if original is None else encode_text(original),
        start_method=whole.get_start_method(allow_none=True),
        log_level=level,
        log_to_stderr=to_stderr,
    )


def _logging(util: ModuleType | None) -> tuple[int | None, bool]:
    logger = getattr(util, "_logger", None)
    if logger is None:
        return None, False
    return logger.getEffectiveLevel(), bool(getattr(util, "_log_to_stderr", False))

"""Types of a script's `__main__` that cannot travel by value: each side looks them up in the script's file.

dill carries functions and classes of `__main__` by value, but not a class whose metaclass keeps a book of it: enums,
pydantic models. Those go as the path of the script and their name. An executor loads the file once, under a name of its
own, so that `if __name__ == "__main__":` keeps out what is not for it, as with multiprocessing's spawn.
"""

from __future__ import annotations

import enum
import importlib.util
import os
import sys
from functools import reduce
from types import FunctionType, ModuleType
from typing import Any, Final

from pydantic import BaseModel

LOADED: Final = "__quiesce_main__"
"""The script's file as a module, in a process where it is not `__main__`."""

_BEYOND_DILL: Final = (enum.EnumMeta, type(BaseModel))


def place_of(value: Any) -> tuple[str, str] | None:
    """The script's path and the name in it, for what must go by name; None for everything else.

    Raises TypeError when there is no file to look into: `python -c`, standard input, a notebook.
    """
    if not isinstance(value, type | FunctionType):
        return None
    is_of_main = value.__module__ == "__main__" and isinstance(value, _BEYOND_DILL)
    if not is_of_main and (value.__module__ != LOADED or "<" in value.__qualname__):
        return None
    path = _path_of(value.__module__)
    if path is None:
        raise TypeError(f"{value.__qualname__} is defined in a __main__ that is no file: put it into a module")
    return path, value.__qualname__


def found_in(path: str, name: str) -> Any:
    """What `place_of` named, in this process."""
    module = sys.modules["__main__"] if _path_of("__main__") == path else _load(path)
    return reduce(getattr, name.split("."), module)


def _path_of(module: str) -> str | None:
    path = getattr(sys.modules.get(module), "__file__", None)
    return os.path.abspath(path) if path is not None and os.path.isfile(path) else None


def _load(path: str) -> ModuleType:
    if _path_of(LOADED) == path:
        return sys.modules[LOADED]
    return load_file(LOADED, path)


def load_file(name: str, path: str | os.PathLike[str]) -> ModuleType:
    """Execute a file as the module of this name. Raises ImportError if it is not one of Python's, or what it raises."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

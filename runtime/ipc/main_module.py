"""The script that a run was started from, in processes where it is not `__main__`.

What a script defines travels by name, as with multiprocessing's spawn. A pickle names that script (its
`MainLocation`), and the reader looks it up: in `__main__`, if that is the same script, else in the script imported
again. An executor imports it as `__mp_main__` and calls it `__main__` too, so that `if __name__ == "__main__":` keeps
out what is not for it. Elsewhere (a program that reads another script's journal) its name tells its place.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import os
import pkgutil
import sys
import threading
import typing
import zipimport
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from runtime.errors import UsageError
from runtime.failure import MAIN_NAMES

_ELSEWHERE: Final = "__main__:"
"""How the name of a script's module begins where it is neither."""

_NAMED: Final = (
    type,
    FunctionType,
    typing.TypeVar,
    typing.ParamSpec,
    typing.NewType,
    *((typing.TypeVarTuple,) if hasattr(typing, "TypeVarTuple") else ()),
    type(functools.lru_cache(int)),
)
"""Kinds of objects that have a name in the module that defines them."""


class MainLocation(NamedTuple):
    """Where a script is. `kind` is `file` or `archive` (`where` is a path) or `module` (a dotted name)."""

    kind: str
    where: str


# -- the script of this process ---------------------------------------------------------------------


def main_place() -> MainLocation | None:
    """Return where `__main__` comes from; None if it cannot be imported again: `-c`, standard input, a notebook."""
    module = sys.modules.get("__main__")
    if module is None or hasattr(sys, "ps1"):  # at a prompt: what is typed there is in no file
        return None
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return MainLocation("module", spec.name)
    path = getattr(module, "__file__", None)
    if path is not None and os.path.isfile(path):
        return MainLocation("file", os.path.abspath(path))
    archive = getattr(getattr(spec, "loader", None), "archive", None)
    return MainLocation("archive", os.path.abspath(archive)) if archive is not None else None


def name_in_main(value: Any) -> str | None:
    """Return the name under which this process's script has this class, function or the like; None if it has not."""
    if (
        not issubclass(type(value), _NAMED)
        or getattr(value, "__module__", None) not in MAIN_NAMES
        or main_place() is None
    ):
        return None
    name = str(getattr(value, "__qualname__", None) or getattr(value, "__name__", ""))
    try:
        member = look_up(sys.modules["__main__"], name)
    except AttributeError:
        return None
    return name if member is value else None


def look_up(module: ModuleType, name: str) -> Any:
    """Return what a module has under a dotted name. Raises AttributeError that says what to do."""
    try:
        return functools.reduce(getattr, name.split("."), module)
    except AttributeError:
        if module.__name__ in MAIN_NAMES or module.__name__.startswith(_ELSEWHERE):
            script = getattr(module, "__file__", module.__name__)
            raise AttributeError(
                f"{script} has no {name!r} when it is imported: define it outside of `if __name__ == '__main__':`"
            ) from None
        raise


# -- a script in another process --------------------------------------------------------------------

_lock = threading.RLock()
_loaded: dict[MainLocation, ModuleType] = {}
_takes_main = False


def take_over_main() -> None:
    """Have the first script that is needed become this process's `__main__`. For executors."""
    global _takes_main  # noqa: PLW0603 - a process has one `__main__`
    _takes_main = True


def main_module(place: MainLocation) -> ModuleType:
    """Return the script of a place, imported now if need be. Raises whatever its import raises."""
    if place == main_place():
        return sys.modules["__main__"]
    with _lock:
        return _loaded.get(place) or _load(place)


def place_in_name(module: str) -> MainLocation | None:
    """Return the place that the name of a module tells, if it is that of a script that was imported again."""
    if not module.startswith(_ELSEWHERE):
        return None
    kind, _, where = module.removeprefix(_ELSEWHERE).partition(":")
    return MainLocation(kind, where.replace("%2E", ".").replace("%25", "%"))


def _name_with(place: MainLocation) -> str:
    """Return a module name for this location; without dots, so that it is no part of another module."""
    return f"{_ELSEWHERE}{place.kind}:{place.where.replace('%', '%25').replace('.', '%2E')}"


def _load(place: MainLocation) -> ModuleType:
    takes_main = _takes_main and main_place() is None
    names = ("__main__", "__mp_main__") if takes_main else (_name_with(place),)
    module, code = _prepare(names[-1], place)
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(dict.fromkeys(names, module))
    try:
        with importing(place.where):
            exec(code, module.__dict__)  # noqa: S102 - this is what importing means
    except BaseException:
        for name, other in before.items():
            if other is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = other
        raise
    _loaded[place] = module
    return module


def _prepare(name: str, place: MainLocation) -> tuple[ModuleType, CodeType]:
    """Make the module that a script will be, as runpy would. Nothing is written beside the script."""
    module = ModuleType(name)
    if place.kind == "file":
        code, path, package, spec = _read_code(place.where), place.where, "", None
    else:
        spec = _find(place)
        if spec is None or spec.loader is None or not hasattr(spec.loader, "get_code"):
            raise ImportError(f"the script {place.where} is not here any more")
        code, path, package = spec.loader.get_code(spec.name), spec.origin, spec.parent
        if code is None:
            raise ImportError(f"the script {place.where} has no code")
    module.__file__ = path
    module.__package__ = package
    module.__spec__ = spec
    return module, code


def _find(place: MainLocation) -> Any:
    if place.kind == "archive":
        return zipimport.zipimporter(place.where).find_spec("__main__")
    return importlib.util.find_spec(place.where)


def _read_code(path: str) -> CodeType:
    """Read a script: source whatever its name ends with, or what was compiled before."""
    with io.open_code(path) as file:
        code: CodeType | None = pkgutil.read_code(file)
    if code is None:
        with io.open_code(path) as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
    return code


def load_file(name: str, path: str | os.PathLike[str]) -> ModuleType:
    """Execute a file as the module of this name. Raises ImportError if it is not one of Python's, or what it raises."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# -- scripts that start work when they are imported -------------------------------------------------

_importing: list[str] = []


@contextmanager
def importing(what: str) -> Iterator[None]:
    """Refuse Supervisors meanwhile: a module that an executor imports must not start executors itself."""
    _importing.append(what)
    try:
        yield
    finally:
        _importing.pop()


def refuse_start_while_importing() -> None:
    """Raise UsageError if an executor is importing the code that calls this."""
    if _importing:
        raise UsageError(
            f"{_importing[-1]} starts a Supervisor when it is imported, and executors import it too:"
            ' put what starts the work under `if __name__ == "__main__":`'
        )

"""Let a project's own modules named `runtime` or `orchestrator` win over quiesce's packages in executors.

In an executor a project's own module wins where it would win without quiesce: when it comes first on `sys.path`. Ours
are loaded by then and need no name, so they step aside, except for submodules that the project's has not: what is
pickled by its name, and what is looked up by it, is still found.

A folder without `__init__.py` counts if there are Python files in it; a folder of logs is no module.

Rejected: loading ours under other names in executors (pickles name classes, and both sides must mean the same ones).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final

NAMES: Final = ("runtime", "orchestrator")

_HOME: Final = Path(__file__).resolve().parents[2]


def find_namesake(name: str) -> ModuleSpec | None:
    """Return the project's own module or package of a name if it comes before quiesce's on sys.path."""
    for entry in sys.path:
        try:
            spec = PathFinder.find_spec(name, [entry])
        except (ImportError, ValueError, TypeError):  # an entry that is no text, or a strange hook
            continue
        if spec is not None and spec.origin is None and not _has_modules(spec):
            continue
        if spec is not None:
            return None if _is_quiesce(spec) else spec
    return None


def _has_modules(spec: ModuleSpec) -> bool:
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return any(any(folder.glob(pattern)) for folder in folders for pattern in ("*.py", "*/*.py"))


def _is_quiesce(spec: ModuleSpec) -> bool:
    """Return whether both packages are there, typed: another copy of quiesce is no module of the project."""
    homes = [Path(folder).parent for folder in spec.submodule_search_locations or ()]
    return any(all((home / name / "py.typed").exists() for name in NAMES) for home in homes)


def step_aside() -> None:
    """Give up the names that the agent's project uses for modules of its own."""
    for name in NAMES:
        ours = sys.modules.get(name)
        if ours is not None and not _is_ours(ours):
            continue
        spec = find_namesake(name)
        if spec is None:
            continue
        if ours is not None:
            _give_up(name, ours, spec)
        if spec.origin is None:  # a folder: an import would pass it over, and find ours, loaded or not
            sys.modules[name] = importlib.util.module_from_spec(spec)


def _is_ours(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(_HOME / module.__name__)


def _give_up(name: str, ours: ModuleType, spec: ModuleSpec) -> None:
    for offered in ours.__all__:  # an agent that was loaded before may have the package, and would look it up later
        getattr(ours, offered)
    for taken in _taken(name, spec.submodule_search_locations or ()):
        del sys.modules[taken]
    del sys.modules[name]


def _taken(name: str, folders: Iterable[str]) -> list[str]:
    """Return our loaded submodules that the other package has too, with all that is below them."""
    folders, begin = list(folders), f"{name}."
    below = [module for module in sys.modules if module.startswith(begin)]
    tops = {module.split(".")[1] for module in below}
    taken = {top for top in tops if PathFinder.find_spec(f"{name}.{top}", folders) is not None}
    return [module for module in below if module.split(".")[1] in taken]


def explain(error: BaseException) -> str:
    """Return what to add to the text of an error that comes of a name's meaning the project's module; else nothing."""
    name, _, submodule = (_module_of(error) or "").partition(".")
    spec = find_namesake(name) if name in (*NAMES, "quiesce") else None
    if spec is None or not _wants_ours(error, name, submodule):
        return ""
    where = spec.origin or next(iter(spec.submodule_search_locations or ()), name)
    return f"; {where} hides quiesce's package `{name}`: rename it, or put it into a package"


def _module_of(error: BaseException) -> str | None:
    if isinstance(error, AttributeError):
        return getattr(error.obj, "__name__", None) if isinstance(error.obj, ModuleType) else None
    return error.name if isinstance(error, ImportError) else None


def _wants_ours(error: BaseException, name: str, submodule: str) -> bool:
    if submodule:
        top = _HOME / name / submodule.partition(".")[0]
        return top.is_dir() or top.with_suffix(".py").is_file()
    text, init = str(error), (_HOME / name / "__init__.py").read_text(encoding="utf-8")
    return any(f" import {word} as {word}\n" in init for word in text.split("'")[1::2])

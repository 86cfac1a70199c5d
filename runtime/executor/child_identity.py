"""Make an executor a child of the supervisor's process, in the eyes of multiprocessing and multiprocess.

It is what their `BaseProcess._bootstrap` and `spawn.prepare` do in a process that they have started. Both packages take
long to import (multiprocess imports dill), and most agents use neither: so it is done when one is imported.

Rejected: to import what the program has imported, in each executor, before any agent is loaded (a tenth of a second);
to look when an agent has been loaded (a task may import a package later).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from runtime.ipc.guardian_protocol import ProcessTraits
from runtime.ipc.inheritance import decode_text


@dataclass(frozen=True, slots=True)
class ChildIdentity:
    """What an executor is. `sentinel`: a descriptor that becomes readable when the parent dies."""

    slot: int
    parent: int
    sentinel: int | None

    def assume(self, package: str, traits: ProcessTraits) -> None:
        """Set what `current_process()` and `parent_process()` of a package return, and what it takes from its parent.

        `package` has been imported. A module of that name that is not the package stays as it is.
        """
        process: Any = sys.modules.get(f"{package}.process")
        if not hasattr(process, "_current_process"):
            return
        whole: Any = sys.modules[package]
        process._current_process = self._current_process(whole, traits)  # noqa: SLF001 - as its own _bootstrap does
        if self.sentinel is not None:
            parent = process._ParentProcess(traits.name, self.parent, self.sentinel)  # noqa: SLF001
            process._parent_process = parent  # noqa: SLF001
        process._process_counter = itertools.count(1)  # noqa: SLF001
        process._dangling.clear()  # noqa: SLF001
        process.ORIGINAL_DIR = None if traits.original_dir is None else decode_text(traits.original_dir)
        if traits.start_method is not None:
            whole.set_start_method(traits.start_method, force=True)
        _set_up_logging(package, traits)

    def _current_process(self, package: Any, traits: ProcessTraits) -> Any:
        current = package.Process(name=f"Executor-{self.slot + 1}")
        current._identity = (self.slot + 1,)  # noqa: SLF001 - its children's names begin with it
        current._parent_pid, current._parent_name = self.parent, traits.name  # noqa: SLF001
        current.authkey = traits.authkey
        return current


def _set_up_logging(package: str, traits: ProcessTraits) -> None:
    if traits.log_level is None:
        return
    util = import_module(f"{package}.util")
    if traits.log_to_stderr:
        util.log_to_stderr()
    util.get_logger().setLevel(traits.log_level)


class IdentityFinder:
    """Have an identity assumed in packages as they are imported: a finder (importlib) that finds nothing itself."""

    def __init__(self, identity: ChildIdentity, packages: dict[str, ProcessTraits]) -> None:
        self._identity = identity
        self._pending = dict(packages)

    def install(self) -> None:
        """Begin. What is imported already has no import to wait for."""
        for package in self._pending.keys() & sys.modules.keys():
            self._identity.assume(package, self._pending.pop(package))
        sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find, with a loader that does one thing more."""
        if name not in self._pending:
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            self._wrap(spec.loader)
        return spec

    def _wrap(self, loader: Any) -> None:
        execute = loader.exec_module

        def execute_and_assume(module: ModuleType) -> None:
            loader.exec_module = execute
            execute(module)
            traits = self._pending.pop(module.__name__, None)
            if traits is not None:
                self._identity.assume(module.__name__, traits)

        loader.exec_module = execute_and_assume

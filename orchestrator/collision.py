"""Refuse to work beside another package named `runtime`: one program cannot have both. The error is one line."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType

_OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "runtime")
_WITHOUT_RUNTIME = frozenset(
    f"orchestrator.{name}" for name in ("entry", "quick_answers", "version", "help_page")
)  # the command, up to where it loads ours, wherever it is


def find_other_runtime() -> str | None:
    """Return where the `runtime` is that an import would give, if it is not quiesce's."""
    try:
        spec = importlib.util.find_spec("runtime")
    except ValueError:  # a module that was made by hand
        return str(getattr(sys.modules["runtime"], "__file__", None) or "a module without a file")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    if spec is None or os.path.realpath(_OURS) in map(os.path.realpath, folders):
        return None
    return spec.origin or str(folders[0])


class CollisionFinder:
    """Find nothing: refuse the modules of `orchestrator` while `runtime` is another package."""

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> None:
        """Find no module. Raises ImportError for one of ours beside another `runtime`."""
        if not name.startswith("orchestrator.") or name in _WITHOUT_RUNTIME:
            return
        other = find_other_runtime()
        if other is not None:
            raise ImportError(
                f"{other} hides quiesce's package `runtime`: rename it, or put it into a package", name="runtime"
            )


def refuse_other_runtime() -> None:
    """Refuse imports from now on, if `runtime` is another package already."""
    if find_other_runtime() is not None:
        sys.meta_path.insert(0, CollisionFinder())

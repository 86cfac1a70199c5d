"""Which files are audited: every Python source file below a directory, the standard library by default."""

from __future__ import annotations

import functools
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from auditlib.model import Json

SKIPPED = {"site-packages", "dist-packages", "__pycache__", "node_modules"}


def standard_library() -> Path:
    """Where the running interpreter's library is."""
    return Path(sysconfig.get_path("stdlib"))


def inputs(root: Path) -> Iterator[Json]:
    """One task input for each source file, sorted by key: its path below `root`, or from its top-level package on."""
    root = base = root.absolute()
    while (base / "__init__.py").exists():
        base = base.parent
    found: list[Path] = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in SKIPPED and not name.startswith(".")]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    for key, path in sorted((path.relative_to(base).as_posix(), path) for path in found):
        if path.is_file():
            yield {"key": key, "path": str(path)}


@functools.cache
def top_level(root: Path) -> frozenset[str]:
    """The names that can be imported from `root` itself."""
    if not root.is_dir():
        return frozenset()
    return frozenset(
        path.stem for path in root.iterdir() if path.suffix == ".py" or (path.is_dir() and path.name not in SKIPPED)
    )

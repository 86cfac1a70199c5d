"""List what a file imports, and find imports that it does not use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from auditlib.source import Checkpoint, Source

WORD = re.compile(r"[A-Za-z_]\w*")
Import = ast.Import | ast.ImportFrom


def run(source: Source, checkpoint: Checkpoint) -> dict[str, Any]:
    """List the imported top-level modules, without relative imports, and the unused names.

    An import in a `try` may be a test of what is installed, and one in a package's `__init__.py` a re-export.
    """
    imports = [node for _, node in source.nodes if isinstance(node, Import)]
    used = used_names(source, checkpoint)
    tried = {node for _, statement in source.nodes if isinstance(statement, ast.Try) for node in statement.body}
    judged = [] if source.key.endswith("__init__.py") else [node for node in imports if node not in tried]
    unused = [
        {"kind": "unused-import", "line": node.lineno, "text": f"{name} is imported and never used"}
        for node in judged
        if b"noqa" not in source.lines[node.lineno - 1]
        for name in sorted(bound_names(node) - used)
    ]
    modules = {module.partition(".")[0] for node in imports for module in imported_modules(node)}
    return {"modules": sorted(modules), "findings": unused}


def imported_modules(node: Import) -> Iterator[str]:
    """Yield the absolute names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif node.module and node.module != "__future__" and not node.level:
        yield node.module


def bound_names(node: Import) -> set[str]:
    """Return the names that a statement binds: `a` for `import a.b`. Leaves out `x as x`, a re-export."""
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return set()
    aliases = [alias for alias in node.names if alias.name not in {"*", "__all__", alias.asname}]
    return {alias.asname or alias.name.partition(".")[0] for alias in aliases}


def used_names(source: Source, checkpoint: Checkpoint) -> set[str]:
    """Return the names that are read, and the words in short strings, which may be annotations or `__all__`."""
    names: set[str] = set()
    for _, node in source.nodes:
        checkpoint()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200:
            names.update(WORD.findall(node.value))
    return names

"""Stage `imports`: what a file imports, from where, when, and what of it is never used."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from auditlib.model import BODIES, FUNCTIONS, Json, Look, Source, children, finding, walk

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
Import = ast.Import | ast.ImportFrom


@dataclass(frozen=True, slots=True)
class Place:
    """An import statement and the conditions it stands in."""

    node: Import
    function: ast.AST | None
    guarded: bool
    """In a `try` or an `if`: it may fail, or not be executed at all."""
    typing: bool
    """Under `if TYPE_CHECKING`: never executed."""

    @property
    def when(self) -> str:
        """When it is executed."""
        return "typing" if self.typing else "late" if self.function else "optional" if self.guarded else "start"


def run(source: Source, look: Look) -> Json:
    """Resolve every import of the file; report stars, repeats and what is unused."""
    facts: list[Json] = []
    findings: list[Json] = []
    places = list(find_imports(source.tree))
    for place in places:
        look()
        for module, names in targets(place.node, source):
            origin = origin_of(module, place.node, source)
            facts.append(
                {"module": module, "names": names, "line": place.node.lineno, "when": place.when, "origin": origin}
            )
            if "*" in names:
                findings.append(finding("star-import", place.node.lineno, f"from {module} import *"))
            if not module:
                findings.append(finding("bad-relative-import", place.node.lineno, "goes above the top-level package"))
    findings += repeated(places)
    if not source.is_package:
        findings += unused(places, source, look)
    return {"imports": facts, "findings": findings}


def find_imports(tree: ast.Module) -> Iterator[Place]:
    """Every import statement, in source order."""
    stack: list[tuple[ast.AST, ast.AST | None, bool, bool]] = [(tree, None, False, False)]
    while stack:
        node, function, guarded, typing = stack.pop()
        if isinstance(node, Import):
            yield Place(node, function, guarded, typing)
            continue
        function = node if isinstance(node, FUNCTIONS) else function
        guarded = guarded or isinstance(node, ast.Try | ast.TryStar | ast.If)
        typing = typing or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for child in reversed(children(node)):
            if isinstance(child, BODIES):
                stack.append((child, function, guarded, typing))


def targets(node: Import, source: Source) -> Iterator[tuple[str, list[str]]]:
    """The absolute module names that a statement imports, and the names it takes from them."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, []
        return
    names = [alias.name for alias in node.names]
    if not node.level:
        yield node.module or "", names
        return
    package = source.module.split(".") if source.is_package else source.module.split(".")[:-1]
    above = package[: len(package) - node.level + 1]
    yield ".".join([*above, node.module] if node.module and above else above), names


def origin_of(module: str, node: Import, source: Source) -> str:
    """Where a module comes from: relative, the standard library, the same code base, or a third party."""
    root = module.partition(".")[0]
    if isinstance(node, ast.ImportFrom) and node.level:
        return "relative"
    if root in sys.stdlib_module_names:
        return "standard"
    return "own" if root in source.own else "third party"


def bound_names(node: Import) -> Iterator[str]:
    """The names that an import statement binds. `import a.b` binds `a`."""
    for alias in node.names:
        if alias.name != "*":
            yield alias.asname or alias.name.partition(".")[0]


def repeated(places: list[Place]) -> Iterator[Json]:
    """Imports of the same thing twice in one scope, both unconditional."""
    seen: dict[tuple[int, str], int] = {}
    for place in places:
        if place.guarded or place.typing:
            continue
        for alias in place.node.names:
            module = "" if isinstance(place.node, ast.Import) else f"{place.node.level}{place.node.module}:"
            what = (id(place.function), f"{module}{alias.name}:{alias.asname}")
            if what in seen and alias.name != "*":
                yield finding(
                    "repeated-import", place.node.lineno, f"{alias.name} is imported on line {seen[what]} too"
                )
            seen.setdefault(what, place.node.lineno)


def unused(places: list[Place], source: Source, look: Look) -> list[Json]:
    """Imported names that are never read: in the whole file, or in the function that imports them."""
    lines = source.text.splitlines()
    read: dict[ast.AST | None, set[str]] = {None: names_read(source.nodes)}
    findings: list[Json] = []
    for place in places:
        look()
        line = lines[place.node.lineno - 1] if place.node.lineno <= len(lines) else ""
        if (
            place.guarded
            or "noqa" in line
            or (isinstance(place.node, ast.ImportFrom) and place.node.module == "__future__")
        ):
            continue
        if place.function not in read and place.function is not None:
            read[place.function] = names_read(walk(place.function))
        explicit = {alias.asname for alias in place.node.names if alias.asname == alias.name}
        for name in bound_names(place.node):
            if name not in read[place.function] and name not in explicit and not name.startswith("_"):
                findings.append(finding("unused-import", place.node.lineno, f"{name} is imported and never used"))
    return findings


def names_read(nodes: Iterable[ast.AST]) -> set[str]:
    """Every name that is read, `global`, listed in `__all__`, or written in a quoted annotation."""
    found: set[str] = set()
    exported = False
    for node in nodes:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif node.id == "__all__":
                exported = True
        elif isinstance(node, ast.Global):
            found.update(node.names)
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            found.update(quoted_words(walk(node.annotation)))
        elif isinstance(node, FUNCTIONS) and node.returns is not None:
            found.update(quoted_words(walk(node.returns)))
    return found.union(quoted_words(nodes)) if exported else found


def quoted_words(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The words of the short strings among some nodes."""
    for inner in nodes:
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and len(inner.value) < 200:
            yield from WORD.findall(inner.value)

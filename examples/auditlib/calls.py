"""Stage `calls`: who calls whom inside a file. Recursion, and private helpers that nobody uses."""

from __future__ import annotations

import ast
from collections import defaultdict

from auditlib.graph import cycles
from auditlib.model import Function, Json, Look, Source, dotted, finding, walk_own


def run(source: Source, look: Look) -> Json:
    """Build the call graph of the file; report its cycles."""
    lines = {function.name: function.node.lineno for function in source.functions}
    edges: dict[str, list[str]] = {}
    for function in source.functions:
        look()
        edges[function.name] = sorted(callees(function, lines))
    findings: list[Json] = []
    for component in cycles(edges):
        first = min(component, key=lambda name: lines[name])
        findings.append(finding("mutual-recursion", lines[first], " <-> ".join(component)))
    recursive = sorted(name for name, targets in edges.items() if name in targets)
    called: dict[str, int] = defaultdict(int)
    for targets in edges.values():
        for target in targets:
            called[target] += 1
    busiest = sorted(called, key=lambda name: (-called[name], name))[:3]
    return {
        "calls": {
            "edges": sum(map(len, edges.values())),
            "recursive": recursive,
            "busiest": [[name, called[name]] for name in busiest],
        },
        "findings": findings + unused_private(source),
    }


def callees(function: Function, known: dict[str, int]) -> set[str]:
    """The functions of the same file that a function calls by name, or as a method of `self`."""
    found: set[str] = set()
    for node in walk_own(function.node):
        if not isinstance(node, ast.Call):
            continue
        target = node.func
        if isinstance(target, ast.Name):
            found.update(resolve(target.id, function.name, known))
        elif isinstance(target, ast.Attribute) and dotted(target.value) in {"self", "cls"}:
            found.update({f"{function.owner}.{target.attr}"} & known.keys())
    return found


def resolve(name: str, caller: str, known: dict[str, int]) -> list[str]:
    """A called name: a function inside the caller, else one of the module."""
    return next(([full] for full in (f"{caller}.{name}", name) if full in known), [])


def unused_private(source: Source) -> list[Json]:
    """Module-level functions named `_like_this` whose name occurs nowhere else in the file."""
    words: set[str] = set()
    for node in source.nodes:
        if isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Attribute):
            words.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
    return [
        finding("unused-private", function.node.lineno, f"{function.name} is not used in its file")
        for function in source.functions
        if "." not in function.name and function.name.startswith("_") and not function.name.startswith("__")
        if function.name not in words and not function.node.decorator_list
    ]

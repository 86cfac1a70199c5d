"""Measure lines, functions and docstrings; find functions that are too long or too complex."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from typing import Any

from auditlib.source import Checkpoint, FunctionNode, Scope, Source

LONGEST = 100  # lines of a function
MOST_PATHS = 20  # independent ways through a function, which is its cyclomatic complexity
WORST = 5  # functions that a file's result names

BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case, ast.comprehension)


def run(source: Source, checkpoint: Checkpoint) -> dict[str, Any]:
    """Measure a file."""
    functions = measure_functions(source, checkpoint)
    public = [scope for scope in source.scopes if is_public(scope)]
    lines = [line.strip() for line in source.lines]
    return {
        "lines": len(lines),
        "code": sum(bool(line) and not line.startswith(b"#") for line in lines),
        "functions": len(functions),
        "paths": sum(function["paths"] for function in functions),
        "worst": sorted(functions, key=lambda function: (-function["paths"], function["line"]))[:WORST],
        "public": len(public),
        "documented": sum(ast.get_docstring(scope.node, clean=False) is not None for scope in public),
        "findings": [finding for function in functions for finding in judge(function)],
    }


def measure_functions(source: Source, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Return name, line, length and number of paths of each function. Functions in it count for themselves."""
    branches: Counter[Scope] = Counter()
    for scope, node in source.nodes:
        checkpoint()
        if isinstance(node, BRANCHES):
            branches[scope] += 1
        elif isinstance(node, ast.BoolOp):
            branches[scope] += len(node.values) - 1
    return [
        {"name": scope.name, "line": node.lineno, "length": length(node), "paths": 1 + branches[scope]}
        for scope, node in source.functions()
    ]


def length(node: FunctionNode) -> int:
    """Return the number of lines of a function."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def judge(function: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a finding if a function is too long, and one if it is too complex."""
    for kind, measure, limit, unit in (
        ("long-function", "length", LONGEST, "lines"),
        ("complex-function", "paths", MOST_PATHS, "paths"),
    ):
        if function[measure] > limit:
            text = f"{function['name']} has {function[measure]} {unit}"
            yield {"kind": kind, "line": function["line"], "text": text}


def is_public(scope: Scope) -> bool:
    """Whether a reader expects a docstring: no part of the name begins with an underscore."""
    return not any(part.startswith("_") for part in scope.name.split("."))

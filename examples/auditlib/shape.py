"""Stage `shape`: functions and classes. Length, complexity, nesting, docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from auditlib.model import FUNCTIONS, SCOPES, Function, Json, Look, Source, children, finding

TOO_LONG = 100  # lines
TOO_COMPLEX = 20  # independent paths
TOO_DEEP = 6  # nested blocks
TOO_MANY_ARGUMENTS = 10
WORST = 5
"""How many of a file's most complex functions go into its result."""

BLOCKS = {ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match}
BRANCHES = {ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.match_case}


def run(source: Source, look: Look) -> Json:
    """Measure every function; ask for docstrings where a reader would."""
    measured: list[Json] = []
    findings: list[Json] = []
    for function in source.functions:
        look()
        facts = measure(function)
        measured.append(facts)
        findings.extend(judge(facts))
    worst = sorted(measured, key=lambda facts: (-facts["complexity"], facts["line"]))
    wanted, documented = docstrings(source)
    return {
        "functions": {
            "count": len(measured),
            "lines": sum(facts["length"] for facts in measured),
            "complexity": sum(facts["complexity"] for facts in measured),
            "worst": worst[:WORST],
        },
        "classes": sum(isinstance(node, ast.ClassDef) for node in source.nodes),
        "docstrings": {"wanted": wanted, "documented": documented},
        "findings": findings,
    }


def measure(function: Function) -> Json:
    """The numbers of one function. Functions inside it have their own."""
    node = function.node
    complexity, cognitive, depth = 1, 0, 0
    for inner, nesting in with_nesting(node):
        depth = max(depth, nesting)
        if type(inner) in BRANCHES:
            complexity += 1
            cognitive += 1 + nesting
        elif isinstance(inner, ast.BoolOp):
            complexity += len(inner.values) - 1
            cognitive += 1
        elif isinstance(inner, ast.comprehension):
            complexity += 1 + len(inner.ifs)
    arguments = node.args
    return {
        "name": function.name,
        "line": node.lineno,
        "length": (node.end_lineno or node.lineno) - node.lineno + 1,
        "complexity": complexity,
        "cognitive": cognitive,
        "nesting": depth,
        "arguments": len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs),
    }


def with_nesting(function: ast.AST) -> Iterator[tuple[ast.AST, int]]:
    """The nodes of a function, each with how many blocks it stands in. An `elif` is not one deeper."""
    stack: list[tuple[ast.AST, int]] = [(child, 0) for child in children(function)]
    while stack:
        node, nesting = stack.pop()
        yield node, nesting
        if isinstance(node, SCOPES):
            continue
        inside = nesting + (type(node) in BLOCKS)
        stack += [(child, inside) for child in children(node)]
        if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
            stack[-1] = (node.orelse[0], nesting)


def judge(facts: Json) -> Iterator[Json]:
    """What is too much about one function."""
    limits = (
        ("long-function", "length", TOO_LONG, "lines"),
        ("complex-function", "complexity", TOO_COMPLEX, "paths"),
        ("deep-nesting", "nesting", TOO_DEEP, "nested blocks"),
        ("many-arguments", "arguments", TOO_MANY_ARGUMENTS, "arguments"),
    )
    for kind, measure_name, limit, unit in limits:
        if facts[measure_name] > limit:
            yield finding(kind, facts["line"], f"{facts['name']} has {facts[measure_name]} {unit}")


def docstrings(source: Source) -> tuple[int, int]:
    """How many public modules, classes, functions and methods there are, and how many say what they do."""
    wanted = documented = 0
    stack: list[ast.Module | ast.ClassDef] = [source.tree]
    while stack:
        owner = stack.pop()
        wanted += 1
        documented += ast.get_docstring(owner, clean=False) is not None
        for node in owner.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                stack.append(node)
            elif isinstance(node, FUNCTIONS) and not node.name.startswith("_"):
                wanted += 1
                documented += ast.get_docstring(node, clean=False) is not None
    return wanted, documented

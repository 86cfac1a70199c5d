"""Find code that is often a mistake. Each check looks at one node and yields the kind of a finding and a text."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

from auditlib.source import Checkpoint, FunctionNode, Source

Found = Iterator[tuple[str, str]]


def run(source: Source, checkpoint: Checkpoint) -> dict[str, Any]:
    """Check every node once."""
    findings: list[dict[str, Any]] = []
    for _, node in source.nodes:
        checkpoint()
        check = CHECKS.get(type(node))
        for kind, text in check(node) if check else ():
            findings.append({"kind": kind, "line": node.lineno, "text": text})  # type: ignore[attr-defined]
    return {"findings": sorted(findings, key=lambda finding: (finding["line"], finding["kind"], finding["text"]))}


def check_function(node: FunctionNode) -> Found:
    """Find defaults that all calls share."""
    for default in (*node.args.defaults, *node.args.kw_defaults):
        match default:
            case ast.List() | ast.Dict() | ast.Set() | ast.Call(func=ast.Name("list" | "dict" | "set")):
                yield "mutable-default", f"{node.name} has a default that its calls share"


def check_handler(node: ast.ExceptHandler) -> Found:
    """Find handlers that catch too much."""
    match node:
        case ast.ExceptHandler(type=None) if not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
            yield "bare-except", "except: catches SystemExit and KeyboardInterrupt, too"
        case ast.ExceptHandler(type=ast.Name("Exception" | "BaseException" as name), body=[ast.Pass()]):
            yield "silent-except", f"except {name}: pass hides every error"


def check_comparison(node: ast.Compare) -> Found:
    """Find comparisons that do not mean what they say."""
    match node:
        case ast.Compare(ops=[ast.Eq() | ast.NotEq()], comparators=[ast.Constant(None | True | False as value)]):
            yield "singleton-comparison", f"compares with {value} by equality"
        case ast.Compare(ops=[ast.Is() | ast.IsNot()], comparators=[ast.Constant(str() | bytes() | int() as value)]):
            if not isinstance(value, bool):
                yield "literal-identity", "compares with a literal by `is`"
        case ast.Compare(left=ast.Name(left), comparators=[ast.Name(right)]) if left == right:
            yield "self-comparison", f"compares {left} with itself"


def check_dictionary(node: ast.Dict) -> Found:
    """Find keys that occur twice: the first value is lost."""
    keys = [repr(key.value) for key in node.keys if isinstance(key, ast.Constant)]
    for key in sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else ():
        yield "duplicate-key", f"key {key:.60} occurs twice in one dictionary"


def check_assertion(node: ast.Assert) -> Found:
    """Find assertions that cannot fail."""
    if isinstance(node.test, ast.Tuple) and node.test.elts:
        yield "assert-tuple", "asserts a tuple, which is always true"


def check_try(node: ast.Try) -> Found:
    """Find a `return` in `finally`, which drops the exception that is being raised."""
    if any(isinstance(inner, ast.Return) for inner in node.finalbody):
        yield "return-in-finally", "return in finally drops the exception that is being raised"


def check_call(node: ast.Call) -> Found:
    """Find code that is made from strings."""
    match node.func:
        case ast.Name("eval" | "exec" as name):
            yield "code-from-string", f"calls {name}()"


CHECKS: dict[type[ast.AST], Callable[..., Found]] = {
    ast.FunctionDef: check_function,
    ast.AsyncFunctionDef: check_function,
    ast.ExceptHandler: check_handler,
    ast.Compare: check_comparison,
    ast.Dict: check_dictionary,
    ast.Assert: check_assertion,
    ast.Try: check_try,
    ast.Call: check_call,
}

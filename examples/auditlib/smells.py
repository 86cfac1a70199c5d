"""Stage `smells`: single nodes that are often mistakes."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator

from auditlib.model import FUNCTIONS, FunctionNode, Json, Look, Source, dotted, finding, walk

MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "collections.defaultdict", "defaultdict", "collections.deque"}
ADDED_BY_SITE = {"copyright", "credits", "exit", "help", "license", "quit"}
BUILTINS = {name for name in dir(builtins) if not name.startswith("_")} - ADDED_BY_SITE


def run(source: Source, look: Look) -> Json:
    """Look at every node once."""
    findings: list[Json] = []
    specs = {id(node.format_spec) for node in source.nodes if isinstance(node, ast.FormattedValue)}
    for number, node in enumerate(source.nodes):
        if not number % 256:
            look()
        check = CHECKS.get(type(node))
        if check is not None and id(node) not in specs:
            findings.extend(check(node))
    return {"findings": findings}


def function(node: FunctionNode) -> Iterator[Json]:
    """Mutable defaults, and names of builtins given to arguments and variables."""
    arguments = node.args
    for default in (*arguments.defaults, *arguments.kw_defaults):
        literal = isinstance(default, ast.List | ast.Dict | ast.Set)
        if literal or (isinstance(default, ast.Call) and dotted(default.func) in MUTABLE_CALLS):
            yield finding("mutable-default", node.lineno, f"{node.name} has a default that its calls share")
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if argument.arg in BUILTINS:
            yield finding(
                "shadowed-builtin", argument.lineno, f"argument {argument.arg} of {node.name} hides a builtin"
            )


def name(node: ast.Name) -> Iterator[Json]:
    """A variable that hides a builtin."""
    if isinstance(node.ctx, ast.Store) and node.id in BUILTINS:
        yield finding("shadowed-builtin", node.lineno, f"variable {node.id} hides a builtin")


def handler(node: ast.ExceptHandler) -> Iterator[Json]:
    """Handlers that catch too much, or say nothing."""
    silent = all(isinstance(statement, ast.Pass) for statement in node.body)
    if node.type is None:
        raises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in walk(node))
        if not raises:
            yield finding("bare-except", node.lineno, "except: catches SystemExit and KeyboardInterrupt too")
    elif silent and dotted(node.type) in {"Exception", "BaseException"}:
        yield finding("silent-except", node.lineno, f"except {dotted(node.type)}: pass hides every error")


def compare(node: ast.Compare) -> Iterator[Json]:
    """Comparisons that do not mean what they say."""
    sides = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
        equality = isinstance(operator, ast.Eq | ast.NotEq)
        constants = [side.value for side in (left, right) if isinstance(side, ast.Constant)]
        if equality and None in constants:
            yield finding("none-comparison", node.lineno, "compares with None by ==; `is` says what is meant")
        if equality and any(value is True or value is False for value in constants):
            yield finding("bool-comparison", node.lineno, "compares with True or False by ==")
        if isinstance(operator, ast.Is | ast.IsNot) and {str, bytes, int, float}.intersection(map(type, constants)):
            yield finding("literal-identity", node.lineno, "compares with a literal by `is`")
        if isinstance(left, ast.Name) and isinstance(right, ast.Name) and left.id == right.id:
            yield finding("self-comparison", node.lineno, f"compares {left.id} with itself")


def dictionary(node: ast.Dict) -> Iterator[Json]:
    """A key that occurs twice: the first value is lost."""
    seen: set[tuple[str, object]] = set()
    for key in node.keys:
        if isinstance(key, ast.Constant):
            what = (type(key.value).__name__, key.value)
            if what in seen:
                yield finding("duplicate-key", key.lineno, f"key {key.value!r:.60} occurs twice in one dict")
            seen.add(what)


def assertion(node: ast.Assert) -> Iterator[Json]:
    """`assert (condition, message)` is always true."""
    if isinstance(node.test, ast.Tuple) and node.test.elts:
        yield finding("assert-tuple", node.lineno, "asserts a tuple, which is always true")


def raising(node: ast.Raise) -> Iterator[Json]:
    """`raise NotImplemented` raises a TypeError."""
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    if isinstance(raised, ast.Name) and raised.id == "NotImplemented":
        yield finding("raise-notimplemented", node.lineno, "NotImplemented is not an exception")


def joined(node: ast.JoinedStr) -> Iterator[Json]:
    """An f-string with nothing in it."""
    if not any(isinstance(value, ast.FormattedValue) for value in node.values):
        yield finding("empty-fstring", node.lineno, "an f-string without a placeholder")


def call(node: ast.Call) -> Iterator[Json]:
    """Code from strings."""
    if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}:
        yield finding("code-from-string", node.lineno, f"calls {node.func.id}()")


def attempt(node: ast.Try) -> Iterator[Json]:
    """A `return` in `finally` swallows whatever was on its way."""
    for statement in node.finalbody:
        for inner in walk(statement):
            if isinstance(inner, ast.Return):
                yield finding("return-in-finally", inner.lineno, "return in finally swallows the exception on its way")


def loop(node: ast.For) -> Iterator[Json]:
    """A function made in a loop sees the variable's last value, not the one of its turn."""
    variables = {target.id for target in walk(node.target) if isinstance(target, ast.Name)}
    for statement in node.body:
        for inner in walk(statement):
            if not isinstance(inner, ast.Lambda):
                continue
            own = {argument.arg for argument in walk(inner.args) if isinstance(argument, ast.arg)}
            reads = {word.id for word in walk(inner.body) if isinstance(word, ast.Name)}
            for late in sorted((reads & variables) - own):
                yield finding(
                    "late-binding", inner.lineno, f"a lambda in a loop reads {late} when it is called, not now"
                )


CHECKS: dict[type[ast.AST], Callable[..., Iterator[Json]]] = {
    **dict.fromkeys(FUNCTIONS, function),
    ast.Name: name,
    ast.ExceptHandler: handler,
    ast.Compare: compare,
    ast.Dict: dictionary,
    ast.Assert: assertion,
    ast.Raise: raising,
    ast.JoinedStr: joined,
    ast.Call: call,
    ast.Try: attempt,
    ast.For: loop,
}

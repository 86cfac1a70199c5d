"""The control flow graph of a function: blocks of events, and the edges between them.

An event is `(operation, name, line)`. Operations: `use`; `def` (bound in any way); `store` (bound by a plain
assignment, so worth judging); `del`; `gone` (the end of an `except … as name`, which unbinds it).

Exceptions: inside a `try` every statement has its own block, and each block has an edge to the handlers, so
that the handlers see the state before and after every statement. A `finally` is built twice, once for the way
on and once for what is on its way out, so that the two do not blur each other.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from auditlib.imports import bound_names
from auditlib.model import FUNCTIONS, SCOPES, FunctionNode, children, dotted, walk

Event = tuple[str, str, int]
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
NO_RETURN = {"sys.exit", "os._exit", "os.abort", "exit", "quit", "self.fail", "self.skipTest"}
SWALLOWS = ("suppress", "raises", "warns", "support.", "subTest")
ENTRY, EXIT = 0, 1


@dataclass(slots=True)
class Block:
    """Events in order, and the blocks that may come next."""

    events: list[Event] = field(default_factory=list)
    next: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Graph:
    """The flow graph of one function."""

    blocks: list[Block] = field(default_factory=list)
    unreachable: set[int] = field(default_factory=set)
    """Lines of the first statements that no path leads to."""
    captured: set[str] = field(default_factory=set)
    """Names that a function or class inside may read or rebind at any time."""
    rebound: set[str] = field(default_factory=set)
    """Names that a function inside declares nonlocal."""
    outer: set[str] = field(default_factory=set)
    """Names declared global or nonlocal."""
    dynamic: bool = False
    """Whether the function calls locals(), eval() or the like: then any name may be used."""


def build(function: FunctionNode) -> Graph:
    """The graph of one function."""
    builder = _Builder()
    entry = builder.new()
    builder.new()  # EXIT
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            builder.event(entry, "def", argument.arg, argument.lineno)
    end = builder.body(function.body, entry)
    builder.link(end, EXIT)
    return builder.graph


class _Builder:
    """Builds one graph. A statement takes the block that it starts in and gives the one it ends in, or None."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.handlers: list[int] = []
        self.loops: list[tuple[int, int]] = []
        self.entered: set[int] = {ENTRY}
        self.quiet = False  # code after this point is unreachable only if one knows what a called function does
        self.visit: dict[type[ast.stmt], Callable[..., int | None]] = {
            ast.If: self.if_,
            ast.While: self.while_,
            ast.For: self.for_,
            ast.AsyncFor: self.for_,
            ast.Try: self.try_,
            ast.TryStar: self.try_,
            ast.With: self.with_,
            ast.AsyncWith: self.with_,
            ast.Match: self.match,
        }

    # -- blocks and events --------------------------------------------------------------------------

    def new(self, *before: int | None) -> int:
        """A new block that follows others."""
        self.graph.blocks.append(Block())
        block = len(self.graph.blocks) - 1
        for one in before:
            self.link(one, block)
        if self.handlers:
            self.link(block, self.handlers[-1])
        return block

    def link(self, before: int | None, after: int) -> None:
        """An edge, if there is anything to come from."""
        if before is not None and after not in self.graph.blocks[before].next:
            self.graph.blocks[before].next.append(after)
            self.entered.add(after)

    def join(self, ends: Iterable[int | None]) -> int | None:
        """Where several ways meet; None if none of them ends."""
        alive = [end for end in ends if end is not None]
        return self.new(*alive) if alive else None

    def event(self, block: int, operation: str, name: str, line: int) -> None:
        """Append an event to a block."""
        self.graph.blocks[block].events.append((operation, name, line))

    # -- statements ---------------------------------------------------------------------------------

    def body(self, statements: list[ast.stmt], current: int | None) -> int | None:
        """Statements in a row."""
        for statement in statements:
            if current is None:
                if not self.quiet and not is_marker(statement):
                    self.graph.unreachable.add(statement.lineno)
                current = self.new()
            elif self.handlers:
                current = self.new(current)
            self.quiet = False
            visit = self.visit.get(type(statement))
            current = visit(statement, current) if visit else self.simple(statement, current)
        return current

    def simple(self, node: ast.stmt, current: int) -> int | None:
        """A statement without a body of its own (or whose body is another scope)."""
        match node:
            case ast.Assign() | ast.AugAssign() | ast.AnnAssign():
                self.assign(node, current)
            case ast.Import() | ast.ImportFrom():
                for name in bound_names(node):
                    self.event(current, "def", name, node.lineno)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self.scope(node, current)
                self.event(current, "def", node.name, node.lineno)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                self.graph.outer.update(names)
            case ast.Break() | ast.Continue():
                if self.loops:
                    self.link(current, self.loops[-1][isinstance(node, ast.Break)])
                return None
            case _:
                self.expression(node, current)
        return self.end_of(node, current)

    def assign(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign, current: int) -> None:
        """The value first, then the targets."""
        if node.value is None:
            return  # `name: int` binds nothing
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            self.event(current, "use", node.target.id, node.lineno)
        self.expression(node.value, current)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        single = isinstance(node, ast.Assign) and len(targets) == 1 and isinstance(targets[0], ast.Name)
        plain = single and not isinstance(node.value, ast.Constant)
        for target in targets:
            self.expression(target, current, "store" if plain else "def")

    def end_of(self, node: ast.stmt, current: int) -> int | None:
        """The block after a simple statement, None if it does not go on."""
        if isinstance(node, ast.Return | ast.Raise):
            self.link(current, EXIT)
            return None
        calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and dotted(node.value.func) in NO_RETURN
        fails = isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and not node.test.value
        if calls or fails:
            self.link(current, EXIT)
            self.quiet = True
            return None
        return current

    def if_(self, node: ast.If, current: int) -> int | None:
        self.expression(node.test, current)
        then = self.body(node.body, self.new(current))
        quiet, self.quiet = self.quiet, False
        otherwise = self.body(node.orelse, self.new(current))
        self.quiet = self.quiet or quiet
        return self.join([then, otherwise])

    def while_(self, node: ast.While, current: int) -> int | None:
        head = self.new(current)
        self.expression(node.test, head)
        return self.loop(node, head, endless=isinstance(node.test, ast.Constant) and bool(node.test.value))

    def for_(self, node: ast.For | ast.AsyncFor, current: int) -> int | None:
        self.expression(node.iter, current)
        return self.loop(node, self.new(current), endless=False)

    def loop(self, node: ast.For | ast.AsyncFor | ast.While, head: int, *, endless: bool) -> int | None:
        after = self.new()
        self.loops.append((head, after))
        start = self.new(head)
        if not isinstance(node, ast.While):
            self.expression(node.target, start)
        self.link_back(self.body(node.body, start), head)
        self.loops.pop()
        if not endless:
            end = self.body(node.orelse, self.new(head))
            if end is not None:
                self.link(end, after)
        return after if after in self.entered else None

    def link_back(self, end: int | None, head: int) -> None:
        """The edge that closes a loop."""
        if end is not None:
            self.link(end, head)

    def try_(self, node: ast.Try, current: int) -> int | None:
        outer = self.handlers[-1] if self.handlers else EXIT
        unwind = outer
        if node.finalbody:
            unwind = self.new()
            self.handlers.append(unwind)
        dispatch = self.new() if node.handlers else unwind
        self.link(current, dispatch)
        self.handlers.append(dispatch)
        end = self.body(node.body, self.new(current))
        self.handlers.pop()
        ends = [self.body(node.orelse, self.new(end)) if end is not None and node.orelse else end]
        ends += [self.handler(handler, self.new(dispatch)) for handler in node.handlers]
        self.link(dispatch, unwind)
        if node.finalbody:
            self.handlers.pop()
            leaving = self.body(node.finalbody, unwind)
            self.link(leaving, outer)
        after = self.join(ends)
        return self.body(node.finalbody, after) if after is not None else None

    def handler(self, node: ast.ExceptHandler, current: int) -> int | None:
        if node.type is not None:
            self.expression(node.type, current)
        if node.name:
            self.event(current, "def", node.name, node.lineno)
        end = self.body(node.body, current)
        if node.name and end is not None:
            self.event(end, "gone", node.name, node.lineno)
        return end

    def with_(self, node: ast.With | ast.AsyncWith, current: int) -> int | None:
        swallows = False
        for item in node.items:
            self.expression(item.context_expr, current)
            if item.optional_vars is not None:
                self.expression(item.optional_vars, current)
            manager = item.context_expr.func if isinstance(item.context_expr, ast.Call) else item.context_expr
            swallows = swallows or any(word.lower() in dotted(manager).lower() for word in SWALLOWS)
        if not swallows:
            end = self.body(node.body, self.new(current))
            self.quiet = self.quiet or end is None  # any context manager may swallow exceptions
            return end
        after = self.new(current)
        self.handlers.append(after)
        end = self.body(node.body, self.new(current))
        self.handlers.pop()
        return self.join([end, after])

    def match(self, node: ast.Match, current: int) -> int | None:
        self.expression(node.subject, current)
        ends: list[int | None] = []
        rest: int | None = current
        for case in node.cases:
            start = self.new(rest)
            for pattern in walk(case.pattern):
                name = getattr(pattern, "rest", None) or getattr(pattern, "name", None)
                if isinstance(name, str):
                    self.event(start, "def", name, case.pattern.lineno)
            if case.guard is not None:
                self.expression(case.guard, start)
                rest = self.new(rest, start)
            elif isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None:
                rest = None
            ends.append(self.body(case.body, start))
        return self.join([*ends, rest])

    # -- expressions --------------------------------------------------------------------------------

    def expression(self, root: ast.AST, block: int, stored: str = "def") -> None:
        """The names that an expression reads and binds. Variables of a comprehension are its own."""
        stack: list[tuple[ast.AST, frozenset[str]]] = [(root, frozenset())]
        while stack:
            node, hidden = stack.pop()
            if isinstance(node, ast.Name):
                self.name(node, hidden, block, stored)
            elif isinstance(node, ast.NamedExpr):
                stack += [(node.target, frozenset()), (node.value, hidden)]
            elif isinstance(node, SCOPES):
                self.scope(node, block)
            else:
                if isinstance(node, COMPREHENSIONS):
                    targets = (inner for generator in node.generators for inner in walk(generator.target))
                    hidden |= {target.id for target in targets if isinstance(target, ast.Name)}
                stack += [(child, hidden) for child in reversed(children(node))]

    def name(self, node: ast.Name, hidden: frozenset[str], block: int, stored: str) -> None:
        """One name."""
        if node.id in {"locals", "vars", "eval", "exec"}:
            self.graph.dynamic = True
        if node.id not in hidden:
            operation = "use" if isinstance(node.ctx, ast.Load) else "del" if isinstance(node.ctx, ast.Del) else stored
            self.event(block, operation, node.id, node.lineno)

    def scope(self, node: ast.AST, block: int) -> None:
        """A function, lambda or class inside: its defaults are read now, its body whenever it likes."""
        if isinstance(node, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if default is not None:
                    self.expression(default, block)
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            for decorator in node.decorator_list:
                self.expression(decorator, block)
        for inner in walk(node):
            if isinstance(inner, ast.Name):
                self.graph.captured.add(inner.id)
            elif isinstance(inner, ast.Nonlocal):
                self.graph.rebound.update(inner.names)


def is_marker(statement: ast.stmt) -> bool:
    """A statement that means something where it cannot be reached: `yield` after a return makes a generator."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield | ast.YieldFrom | ast.Constant)

"""Parse a source file once, for all stages."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Checkpoint = Callable[[], None]
"""Return at once, or raise when the work is to stop."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
NamedNode = ast.ClassDef | FunctionNode


class Unreadable(Exception):
    """The file is not Python source of this version."""


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """A module, class or function, with its dotted name in the file: `Decoder.decode`. The module's name is empty."""

    name: str
    node: ast.Module | NamedNode


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file: its key, its lines, its scopes, and every node with the scope that it stands in."""

    key: str
    lines: list[bytes]
    scopes: list[Scope]
    nodes: list[tuple[Scope, ast.AST]]

    def functions(self) -> Iterator[tuple[Scope, FunctionNode]]:
        """Yield every function and method."""
        for scope in self.scopes:
            if isinstance(scope.node, FunctionNode):
                yield scope, scope.node


def parse(key: str, data: bytes, checkpoint: Checkpoint) -> Source:
    """Parse a file as the interpreter would. Raises Unreadable."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of doubtful escapes in strings
            tree = ast.parse(data)
    except SyntaxError as error:
        raise Unreadable(f"line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, absurd nesting
        raise Unreadable(f"{type(error).__name__}: {error}") from None
    module = Scope("", tree)
    scopes, nodes = [module], [(module, node) for node in ast.iter_child_nodes(tree)]
    for scope, node in nodes:  # grows while it is read: no recursion, however deep the file nests
        checkpoint()
        inner = scope
        if isinstance(node, NamedNode):
            inner = Scope(f"{scope.name}.{node.name}".lstrip("."), node)
            scopes.append(inner)
        nodes += [(inner, child) for child in ast.iter_child_nodes(node)]
    return Source(key, data.splitlines(), scopes, nodes)

"""Three small tools, and the plan of which to call for a question."""

from __future__ import annotations

import ast
import asyncio
import functools
import operator
import re
import sysconfig
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Checkpoint = Callable[[], Awaitable[None]]
LIBRARY = Path(sysconfig.get_path("stdlib"))
OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool: its name and its argument."""

    tool: str
    argument: str

    @property
    def key(self) -> str:
        """What the call is known by in a snapshot."""
        return f"{self.tool}({self.argument})"


def plan(question: str) -> list[ToolCall]:
    """Which tools to call, at most four: a search for its longest words, the facts of files, sums that are in it."""
    words = sorted(
        {word.lower() for word in re.findall(r"[A-Za-z]{5,}", question)}, key=lambda word: (-len(word), word)
    )
    calls = [ToolCall("search", word) for word in words[:2]]
    calls += [ToolCall("stat", name) for name in re.findall(r"\b[\w/]+\.py\b", question)[:1]]
    calls += [
        ToolCall("calculate", text.strip()) for text in re.findall(r"[\d.]+(?:\s*[-+*/%]+\s*[\d.]+)+", question)[:1]
    ]
    return calls if len(calls) > 1 else [*calls, ToolCall("calculate", f"{len(question)} * 2")]


async def call(one: ToolCall, checkpoint: Checkpoint) -> Any:
    """Call a tool. A tool that cannot do it says so in its result, which a model can read."""
    try:
        match one.tool:
            case "calculate":
                return calculate(one.argument)
            case "stat":
                return stat(one.argument)
            case "search":
                return await search(one.argument, checkpoint)
    except (ValueError, SyntaxError, ArithmeticError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"error": f"there is no tool {one.tool}"}


def calculate(expression: str) -> float:
    """Plain arithmetic, and nothing else. Raises ValueError, SyntaxError, ArithmeticError."""

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
                return OPERATIONS[type(op)](value(left), value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
        raise ValueError(f"cannot calculate {expression!r:.60}")

    return float(value(ast.parse(expression, mode="eval").body))


def stat(name: str) -> dict[str, int]:
    """Size and lines of a file of the standard library. Raises ValueError, OSError."""
    path = (LIBRARY / name).resolve()
    if not path.is_relative_to(LIBRARY.resolve()):
        raise ValueError(f"{name} is outside the library")
    data = path.read_bytes()
    return {"bytes": len(data), "lines": data.count(b"\n")}


@functools.cache
def searched() -> list[Path]:
    """The files that the search looks into."""
    return sorted(LIBRARY.glob("[a-z]*.py"))[:60]


@functools.cache
def lines_of(path: Path) -> list[str]:
    """The lines of a file, read once."""
    return path.read_text("utf-8", errors="replace").splitlines()


async def search(word: str, checkpoint: Checkpoint) -> list[str]:
    """The first places in the library's own modules where a word stands, at most five."""
    found: list[str] = []
    for path in searched():
        await checkpoint()
        await asyncio.sleep(0)  # reading a file holds up whoever shares the event loop: let them go first
        for number, line in enumerate(lines_of(path), start=1):
            if word in line.lower():
                found.append(f"{path.name}:{number} {line.strip()[:60]}")
                break
        if len(found) == 5:
            break
    return found

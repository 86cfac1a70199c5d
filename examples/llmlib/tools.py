"""Two small tools, and the plan of which to call for a question."""

from __future__ import annotations

import asyncio
import functools
import re
import sysconfig
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

Checkpoint = Callable[[], Awaitable[None]]
Tool = Callable[[Checkpoint], Awaitable[Any]]
LIBRARY = Path(sysconfig.get_path("stdlib"))


def plan(question: str) -> dict[str, Tool]:
    """Return the tools to call, by name: a search for the two longest words, and the facts of a file."""
    words = sorted(set(re.findall(r"[a-z]{5,}", question.lower())), key=lambda word: (-len(word), word))
    calls: dict[str, Tool] = {f"search({word})": partial(search, word) for word in words[:2]}
    return calls | {f"measure({name})": partial(measure, name) for name in re.findall(r"\w+\.py", question)[:1]}


async def measure(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return size and lines of a file of the standard library, or an error that a model can read."""
    await checkpoint()
    path = LIBRARY / name
    if not path.is_file():
        return {"error": f"there is no {name}"}
    data = path.read_bytes()
    return {"bytes": len(data), "lines": data.count(b"\n")}


async def search(word: str, checkpoint: Checkpoint) -> list[str]:
    """Return the first five lines with a word, each from another module of the standard library."""
    places: list[str] = []
    for path in modules():
        await checkpoint()
        await asyncio.sleep(0)  # reading a file holds up the event loop: let other tasks go first
        numbered = enumerate(lines(path), start=1)
        places += [f"{path.name}:{number} {line.strip()[:60]}" for number, line in numbered if word in line.lower()][:1]
        if len(places) == 5:
            break
    return places


@functools.cache
def modules() -> list[Path]:
    """Return the modules that are searched."""
    return sorted(LIBRARY.glob("[a-z]*.py"))[:60]


@functools.cache
def lines(path: Path) -> list[str]:
    """Return the lines of a file, which is read once."""
    return path.read_text("utf-8", errors="replace").splitlines()

"""The demonstration: a server, a run against it, and nothing left of either."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from driver import Batch, end_as
from llmlib import http

TOPICS = ("signals", "subprocess pipes", "asyncio streams", "sqlite3 journals", "pickle protocols", "logging handlers")
FILES = ("signal.py", "subprocess.py", "selectors.py", "pickle.py", "queue.py", "threading.py")


def questions(count: int) -> Iterator[dict[str, str]]:
    """Task inputs, the same every time."""
    for number in range(1, count + 1):
        topic, file = TOPICS[number % len(TOPICS)], FILES[number // len(TOPICS) % len(FILES)]
        expression = f"{number} * {number % 7 + 2} + {number // 3}"
        yield {"key": f"q{number:04}", "question": f"How do {topic} depend on {file}, and what is {expression}?"}


def run(script: str, variable: str, folder: Path, count: int, options: tuple[str, ...]) -> int:
    """Run the batch to its end, or resume the one that an interrupt has left. Ends as quiesce does."""
    with serving(script) as url:
        code = Batch("llm", f"{script}:answer", folder, options, {variable: url}).run(questions(count))
        print(told(asyncio.run(final_stats(url))), file=sys.stderr)
    return end_as(code)


@contextmanager
def serving(script: str) -> Iterator[str]:
    """The server, as a child in a session of its own, so that Ctrl-C does not reach it. Gives its URL.

    It ends when its standard input does: at the end of the block, and also when this process is killed.
    """
    process = subprocess.Popen(
        [sys.executable, script, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().decode().strip()
        if not url:
            raise SystemExit("the server did not start")
        yield url
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


async def final_stats(url: str) -> dict[str, Any]:
    """The server's counters, once it has noticed that nobody reads any more, which takes it a word or two."""
    stats: dict[str, Any] = await http.post(url, "/v1/stats", {})
    for _ in range(20):
        if stats["open"]:
            await asyncio.sleep(0.05)
            stats = await http.post(url, "/v1/stats", {})
    return stats


def told(stats: dict[str, Any]) -> str:
    """What the server has seen, which is how one can tell that nothing was cut in half."""
    half = [key for key, count in stats["begun"].items() if stats["stored"].get(key, 0) != count]
    return (
        f"The server saw {stats['completed']} whole streams, {stats['aborted']} broken off, {stats['open']} open; "
        f"it refused {stats['failed'] + stats['refused']} requests; "
        f"{len(stats['stored'])} answers are stored, {len(half)} half stored."
    )

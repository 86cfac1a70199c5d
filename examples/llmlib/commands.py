"""The command line: `serve`, and `demo`, which starts a server, runs a batch against it, and stops the server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from driver import Batch, end_as
from llmlib import client
from llmlib.server import Server, Settings

SCRIPT = str(Path(__file__).parents[1] / "llm.py")
TOPICS = ("signals", "subprocess pipes", "asyncio streams", "sqlite3 journals", "pickle protocols", "logging handlers")
FILES = ("signal.py", "subprocess.py", "selectors.py", "pickle.py", "queue.py", "threading.py")
DEFAULT = Settings()

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Answer questions with a language model.")


@app.command()
def serve(
    port: int = 0,
    word: Annotated[float, typer.Option(help="seconds for each word")] = DEFAULT.word,
    failing: Annotated[float, typer.Option(help="share of prompts that fail once, 0 to 1")] = DEFAULT.failing,
    capacity: Annotated[int, typer.Option(help="streams at once")] = DEFAULT.capacity,
) -> None:
    """Serve until standard input ends. The first line of output is the URL."""
    with Server(Settings(word=word, failing=failing, capacity=capacity), port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.url, flush=True)
        sys.stdin.buffer.read()
        server.shutdown()


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="where the inputs and the journal are kept")] = Path("llm-demo"),
    number: Annotated[int, typer.Option("--questions", help="how many questions")] = 200,
    workers: int = 2,
    concurrency: Annotated[int, typer.Option(help="questions at once in one worker")] = 16,
) -> None:
    """Answer a batch of questions, or continue one that was stopped, with a server of its own."""
    options = ("--workers", str(workers), "--concurrency", str(concurrency))
    with serving() as url:
        code = Batch("llm", f"{SCRIPT}:answer", folder, options, {"LLM_URL": url}).run(questions(number))
        print(describe(asyncio.run(final_stats(url))), file=sys.stderr)
    end_as(code)


def questions(number: int) -> Iterator[dict[str, str]]:
    """Yield task inputs, the same every time."""
    for index in range(1, number + 1):
        topic, file = TOPICS[index % len(TOPICS)], FILES[index // len(TOPICS) % len(FILES)]
        yield {"key": f"q{index:04}", "question": f"In what {index} ways do {topic} depend on {file}?"}


@contextmanager
def serving() -> Iterator[str]:
    """Run the server in a session of its own, so that Ctrl-C does not reach it, and give its URL.

    It ends with its standard input: at the end of the block, and also when this process is killed.
    """
    command = [sys.executable, SCRIPT, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        if not url:
            raise SystemExit("the server did not start")
        yield url


async def final_stats(url: str) -> dict[str, Any]:
    """Return the server's counters once it has noticed which readers went away, which takes it a word or two."""
    stats: dict[str, Any] = await client.post(url, "/v1/stats", {})
    for _ in range(20):
        if stats["open"]:
            await asyncio.sleep(0.05)
            stats = await client.post(url, "/v1/stats", {})
    return stats


def describe(stats: dict[str, Any]) -> str:
    """Say what the server has seen, which shows whether anything was cut in half."""
    half = [key for key, count in stats["begun"].items() if stats["stored"].get(key, 0) != count]
    return (
        f"The server saw {stats['completed']} whole streams, {stats['aborted']} broken off, {stats['open']} open; "
        f"it refused {stats['refused']} requests; {len(stats['stored'])} answers are stored, {len(half)} half stored."
    )

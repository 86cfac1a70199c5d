"""The driver of the demonstration: a server, a run against it, and nothing left of either."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from llmlib import http

RUN_ID = "llm-demo"
TOPICS = ("signals", "subprocess pipes", "asyncio streams", "sqlite3 journals", "pickle protocols", "logging handlers")
FILES = ("signal.py", "subprocess.py", "selectors.py", "pickle.py", "queue.py", "threading.py")


def questions(count: int) -> Iterator[dict[str, str]]:
    """Task inputs, the same every time."""
    for number in range(1, count + 1):
        topic, file = TOPICS[number % len(TOPICS)], FILES[number // len(TOPICS) % len(FILES)]
        sum_ = f"{number} * {number % 7 + 2} + {number // 3}"
        yield {"key": f"q{number:04}", "question": f"How do {topic} depend on {file}, and what is {sum_}?"}


def run(script: str, count: int, workers: int, concurrency: int, journal: Path, variable: str) -> int:
    """Run the batch to its end, or resume the one that an interrupt has left. Ends as quiesce does."""
    with serving(script) as url:
        environment = os.environ | {variable: url}
        command = [sys.executable, "-m", "orchestrator"]
        options = ["--workers", str(workers), "--concurrency", str(concurrency), "--journal", str(journal)]
        if journal.exists():
            command += ["resume", RUN_ID, *options]
        else:
            inputs = journal.with_suffix(".jsonl")
            inputs.write_text("".join(json.dumps(one) + "\n" for one in questions(count)), "utf-8")
            command += ["run", f"{script}:answer", "--input", str(inputs), "--run-id", RUN_ID, *options]
        code = supervise(command, environment)
        tell(asyncio.run(http.post(url, "/v1/stats", {})))
    if code < 0:  # it died by a signal that it was sent: so do we, and a shell sees the truth
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


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


def supervise(command: list[str], environment: dict[str, str]) -> int:
    """Run quiesce, and pass on SIGTERM. Ctrl-C reaches it by itself: it is in our group."""
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)

    def pass_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, lambda *_: None)
    return process.wait()


def tell(stats: dict[str, Any]) -> None:
    """What the server has seen, which is how one can tell that nothing was cut in half."""
    half = [key for key, count in stats["begun"].items() if stats["stored"].get(key, 0) != count]
    print(
        f"the server: {stats['completed']} streams completed, {stats['aborted']} aborted, {stats['open']} open, "
        f"{stats['failed'] + stats['refused']} refused; {len(stats['stored'])} answers stored, {len(half)} cut in half",
        file=sys.stderr,
    )

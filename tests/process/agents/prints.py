"""Agents that print, log and warn in every way, and the children that they start."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from typing import Any

from runtime import ExecutionState, Severity
from tests.support.sync import announce, wait_for_gate

logger = logging.getLogger("shop.orders")


def everything(key: str, state: ExecutionState) -> None:
    """Write by print, logging, warnings, a child, C code and the raw descriptor."""
    print(f"printed {key}")
    print(f"on stderr {key}", file=sys.stderr)
    logger.warning("logged %s", key)
    logger.info("below the level")
    warnings.warn(f"warned {key}", UserWarning, stacklevel=1)
    state.log(f"said {key}", Severity.ERROR, {"n": 1})
    subprocess.run(["echo", f"child of {key}"], check=True)
    os.write(1, f"raw {key} ".encode() + b"\xff\n")
    libc = ctypes.CDLL(None)
    libc.puts(f"from C {key}".encode())
    libc.fflush(None)
    sys.stdout.buffer.write(f"bytes {key}\n".encode())
    thread = threading.Thread(target=print, args=(f"thread {key}",))
    thread.start()
    thread.join()
    print(f"last {key}", end="")


def configured(key: str, state: ExecutionState) -> None:
    """Configure logging as programs do; one record has a traceback, one is long."""
    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(message)s", force=True)
    logger.debug("detail of %s", key)
    try:
        raise ValueError(key)
    except ValueError:
        logger.exception("it went wrong")
    logger.error("long %s", "é\n" * 20_000)


def structured(key: str, state: ExecutionState) -> None:
    """Log with structlog as it is without configuration."""
    import structlog  # noqa: PLC0415 - only this agent needs it

    structlog.get_logger().info("nothing yet")
    if key == "b":
        structlog.get_logger().error("went wrong", order=7)


async def side_by_side(key: str, state: ExecutionState) -> None:
    """Take turns with other tasks, in the middle of lines."""
    for number in range(5):
        print(f"{key} begins {number} ", end="")
        await asyncio.sleep(0)
        print("and ends")
        await asyncio.sleep(0)
    await asyncio.to_thread(print, f"{key} in a thread")
    await asyncio.get_running_loop().run_in_executor(None, print, f"{key} in a pool")
    logger.warning("%s logs", key)


def bar(key: str, state: ExecutionState) -> None:
    """Draw a progress bar as tqdm does."""
    for number in range(101):
        print(f"\r{key} {number} %", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print("50 %\r", end="", flush=True)
    print("          \r", end="", flush=True)


def long_line(size: int, state: ExecutionState) -> None:
    """Print one line of so many bytes, and one behind it."""
    print("x" * size)
    print("behind it")


def many_lines(count: int, state: ExecutionState) -> None:
    """Print numbers."""
    for number in range(count):
        print(number)


def forks(key: str, state: ExecutionState) -> None:
    """Print in a fork of the agent."""
    child = multiprocessing.get_context("fork").Process(target=print, args=(f"fork of {key}",))
    child.start()
    child.join()


def redirects(path: str, state: ExecutionState) -> None:
    """Put a file in the place of the descriptor: nothing but the text goes there."""
    saved = os.dup(1)
    with open(path, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        print("into the file")
        os.dup2(saved, 1)
    os.close(saved)
    print("into the pipe")


def dies(key: str, state: ExecutionState) -> Any:
    """Print, and end the process without a word more."""
    print(f"last words of {key}", end="")
    sys.stdout.flush()
    os._exit(3)


def waits(task: dict[str, str], state: ExecutionState) -> None:
    """Print before and after a gate is opened."""
    print("before the end")
    announce(task["post"])
    wait_for_gate(task["gate"])
    print("after it")


def counts(task: dict[str, int], state: ExecutionState) -> None:
    """Print numbers, and log."""
    for number in range(task["count"]):
        print(number)
    sys.stdout.flush()
    logger.error("counted")

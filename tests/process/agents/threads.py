"""Agents whose work goes on in threads, in pools and beside their event loop."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio.to_thread

from runtime import ExecutionState
from tests.support.sync import announce

_POOL = ThreadPoolExecutor(2)
_POOL.submit(int).result()  # its thread is there before any task, and idle


def _beats() -> None:
    while True:
        time.sleep(0.05)


threading.Thread(target=_beats, name="heartbeat of a library", daemon=True).start()


def write(path: str, line: object) -> None:
    """One side effect: a line with its time, appended as a whole."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{time.time():.6f} {line}\n".encode())
    os.close(fd)


def tool(task: dict[str, Any], attempt: int) -> None:
    """Side effects for a while; it hears nothing."""
    label = f"{task['key']} {attempt}"
    try:
        for step in range(task.get("steps", 20)):
            write(task["marks"], f"{label} step {step}")
            time.sleep(task.get("pause", 0.02))
    finally:
        write(task["marks"], f"{label} finally")


def _next_attempt(task: dict[str, Any]) -> int:
    count = Path(f"{task['marks']}.{task['key']}")
    with count.open("a") as file:
        file.write("x")
    return count.stat().st_size


async def leaves_a_thread(task: dict[str, Any], state: ExecutionState) -> str:
    """Its await can be cancelled, its work cannot."""
    attempt = _next_attempt(task)
    work = functools.partial(tool, task, attempt)
    match task.get("how", "to_thread"):
        case "to_thread":
            await asyncio.to_thread(work)
        case "pool":
            await asyncio.get_running_loop().run_in_executor(_POOL, work)
        case "anyio":
            await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        case "cooperative":
            await asyncio.to_thread(_cooperative, task, state)
        case "context":
            await asyncio.get_running_loop().run_in_executor(_POOL, contextvars.copy_context().run, work)
        case "innocent":
            await asyncio.sleep(task["seconds"])
            return "done"
    return "done"


def _cooperative(task: dict[str, Any], state: ExecutionState) -> None:
    announce(task["post"], "at work")
    try:
        while True:
            state.raise_if_interrupted()
            time.sleep(0.01)
    finally:
        write(task["marks"], f"{task['key']} heard")


def starts_threads(task: dict[str, Any], _state: ExecutionState) -> str:
    """A sync agent that fails while its thread works."""
    attempt = _next_attempt(task)
    daemon = task.get("how") != "thread"
    work = functools.partial(tool, task, attempt)
    if task.get("how") == "nested":
        target = functools.partial(_starts_another, work)
    elif task.get("how") == "pool":
        _POOL.submit(work)
        raise ValueError("no")
    else:
        target = work
    threading.Thread(target=target, daemon=daemon, name="the tool").start()
    raise ValueError("no")


def _starts_another(work: functools.partial[None]) -> None:
    threading.Thread(target=work, daemon=True).start()


def fails(_task: dict[str, Any], _state: ExecutionState) -> None:
    """Leaves nothing; the library's threads are there all the same."""
    raise ValueError("no")


def leaves_work(task: dict[str, Any], _state: ExecutionState) -> str:
    """Work that goes on when it has returned, on purpose."""
    path = Path(task["folder"]) / task["key"]
    match task["how"]:
        case "pool":
            ThreadPoolExecutor(1).submit(_write_later, path)
        case "thread":
            threading.Thread(target=_write_later, args=(path,), name="writer").start()
        case "long":
            threading.Thread(target=_write_later, args=(path, 30.0), name="writer").start()
    return "returned"


def _write_later(path: Path, seconds: float = 0.3) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
    path.write_text("written")


async def leaves_async_work(task: dict[str, Any], _state: ExecutionState) -> str:
    """The same from an event loop, in its own pool."""
    asyncio.get_running_loop().run_in_executor(None, _write_later, Path(task["folder"]) / task["key"])
    return "returned"


_processes: list[ProcessPoolExecutor] = []


def keeps_a_pool(task: dict[str, Any], _state: ExecutionState) -> int:
    """Never shuts its process pool down."""
    if not _processes:
        _processes.append(ProcessPoolExecutor(1))
        atexit.register(Path(task["folder"], f"atexit {os.getpid()}").touch)
    return int(_processes[0].submit(abs, task["n"]).result())


async def blocks(task: dict[str, Any], _state: ExecutionState) -> str:
    """One of those that share a loop holds it; the others wait for something that comes soon."""
    if task.get("blocks"):
        await asyncio.sleep(task.get("after", 0.1))
        if task.get("in_child"):
            await asyncio.gather(_blocks(task["blocks"]), asyncio.sleep(0.01))
        else:
            time.sleep(task["blocks"])  # noqa: ASYNC251 - that is the fault
        await asyncio.sleep(0)
        return "blocked"
    await asyncio.sleep(task["seconds"])
    return "waited"


async def _blocks(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251


async def hoards(task: dict[str, Any], _state: ExecutionState) -> str:
    """One of those that share an executor takes too much memory."""
    if task.get("bytes"):
        hoard = b"x" * task["bytes"]
        await asyncio.sleep(30)
        return str(len(hoard))
    await asyncio.sleep(task.get("seconds", 0.5))
    return "small"


def waits(task: dict[str, Any], _state: ExecutionState) -> None:
    """Run its work in a pool that it waits for, whatever happens to it."""
    announce(task["post"], "at work")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(tool, task, 1).result()


def churn(task: dict[str, Any], state: ExecutionState) -> int:
    """For so many seconds, call functions and start threads that do: frames of all threads come and go at all times."""
    until = time.monotonic() + task["seconds"]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    workers = [threading.Thread(target=_descend_until, args=(until,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    while time.monotonic() < until:
        short = [threading.Thread(target=_descend, args=(30,)) for _ in range(5)]
        for thread in short:
            thread.start()
        for thread in short:
            thread.join()
    for worker in workers:
        worker.join()
    sys.setswitchinterval(switch)
    return os.getpid()


def _descend(depth: int) -> int:
    return 0 if depth == 0 else 1 + _descend(depth - 1)


def _descend_until(until: float) -> None:
    while time.monotonic() < until:
        _descend(60)
